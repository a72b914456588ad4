"""The KFP interface of plan_trials."""

from kfp import dsl
from kfp.dsl import Artifact, Output


@dsl.component(base_image="kfp-suite-python-sklearn:0.1.0", install_kfp_package=False)
def plan_trials(
    plan: Output[Artifact],
    search_space: dict = {},
    estimator: str = "hist_gradient_boosting",
    search: str = "tpe",
    trials: int = 32,
    shards: int = 1,
) -> list:
    """Cut a search into shards, for `dsl.ParallelFor`; a wrong search space fails here.

    Args:
        plan: A folder with `plan.json`: the same list, for people.
        search_space: As tune takes it; empty: what is usual for `estimator`.
        estimator: If there is no search space: the estimator to search.
        search: `random`, `grid` or `tpe`.
        trials: How many, over all shards; 0 with `grid`: every combination.
        shards: How many parts run side by side, each a search of its own.

    Returns:
        Of each shard: `shard`, `count` and `search_space`.
    """
    from pathlib import Path

    from kfp_suite.components.train.tune.plan.executor import PlanParameters
    from kfp_suite.components.train.tune.plan.executor import plan_trials as execute
    from kfp_suite.stores.step import step

    with step("plan_trials", plan):
        return execute(
            PlanParameters(search_space, estimator, search, trials, shards), Path(plan.path)
        )
