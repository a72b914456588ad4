"""What every test shares."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Threads that wait for others sleep instead of spinning: on busy cores several times faster.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# No deadline: two busy cores are slow at times. The same examples on every CI run.
settings.register_profile("suite", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("suite")

_HERE = Path(__file__).parent
LONGEST_FIRST = (
    "notebooks/test_notebooks.py",
    "container/test_pipelines.py",
    "container/test_images.py",
    "local/test_documents.py",
    "local/test_train_and_deploy.py",
    "local/test_recurring.py",
    "tensorflow/test_train.py",
    "local/test_tune.py",
    "serving/test_infra_validate.py",
    "servers/test_servers.py",
    "serving/test_gateway.py",
    "local/test_user_session.py",
    "serving/test_rollout.py",
    "storage/test_versions.py",
    "local/test_train_and_deploy_tensorflow.py",
    "tfx/test_tfma.py",
    "tfx/test_transform_tft.py",
    "container/test_infra_validate.py",
    "container/test_inside.py",
    "container/test_registry.py",
    "faults/test_kills.py",
    "serving/test_multi_model.py",
    "servers/test_mlflow.py",
    "tensorflow/test_graph.py",
    "serving/test_process.py",
    "unit/deploy/test_infra_validate.py",
)
"""Files that take a minute and more. Started late, one would keep a single worker busy at the
end; what is in no order here takes seconds, and fills up the rest."""


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist keep our order: its own begins with the files of the most tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, then the others that start processes, then the units."""
    places = {_HERE / name: place for place, name in enumerate(LONGEST_FIRST)}
    others = len(LONGEST_FIRST)
    items.sort(
        key=lambda item: places.get(item.path, others + item.path.is_relative_to(_HERE / "unit"))
    )
