"""Check the values of a run's parameters before its first step.

Each step checks its own parameters when it starts, which for `thresholds` is after training.
The checks that need no data are made here as well, with the parsers of the components, so that
a misspelt key costs a second and not a run. Data, columns and stores remain the steps' own.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from kfp_suite.components.contracts.errors import MissingError, ParameterError
from kfp_suite.components.contracts.parameters import parse
from kfp_suite.pipelines.images.families import family_of

Values = Mapping[str, Any]

# A library that each family's steps import first, and no other family's do.
_LIBRARIES = {"tensorflow": "tensorflow", "tfx": "tensorflow_transform"}


def check_values(pipeline_values: Values) -> None:
    """Check what can be checked without the data.

    Args:
        pipeline_values: Every parameter of a pipeline of the suite: name to value.

    Raises:
        ParameterError: naming the parameter and the key at fault.
    """
    for error in check_all_values(pipeline_values).errors:
        raise error


@dataclass(frozen=True)
class Findings:
    """What checking the parameters of a pipeline found.

    Attributes:
        errors: At most one a parameter.
        unchecked: Parameters whose check needs a library that is not installed here; a run
            may be submitted without it, and its steps check them.
    """

    errors: tuple[ParameterError, ...]
    unchecked: tuple[str, ...]


def check_all_values(pipeline_values: Values) -> Findings:
    """Check what `check_values` checks, and go on after an error.

    Args:
        pipeline_values: As for `check_values`.

    Returns:
        The findings, in the order of the steps.
    """
    errors, unchecked = [], []
    for name, check in _CHECKS.items():
        if not pipeline_values.get(name):
            continue
        try:
            check(pipeline_values)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("kfp_suite"):
                raise
            unchecked.append(name)
        except ParameterError as error:
            errors.append(_name_parameter(error, name, pipeline_values))
    return Findings(tuple(errors), tuple(unchecked))


def check_libraries(images: Iterable[str]) -> None:
    """Check that the libraries of these images' families are installed here.

    Args:
        images: What the steps of a pipeline run in.

    Raises:
        MissingError: the steps cannot run in this environment.
    """
    for family in sorted({found for image in images if (found := family_of(image))}):
        library = _LIBRARIES.get(family)
        if library and importlib.util.find_spec(library) is None:
            raise MissingError(
                f"no library '{library}' here",
                fix=f"pip install 'kfp-suite[{family}]', or run it in its image: --runner docker",
            )


def _name_parameter(error: ParameterError, name: str, values: Values) -> ParameterError:
    """The error at the pipeline's parameter `name`, which the component may call otherwise."""
    head = re.split(r"\W", error.where or "", maxsplit=1)[0]
    if head in values:
        return error
    inside = (error.where or "").removeprefix(head)
    return ParameterError(
        error.what,
        where=f"{name}{inside}",
        got=error.got,
        expected=error.expected,
        fix=error.fix,
    )


def _check_sources(values: Values) -> None:
    from kfp_suite.components.stores.sources import parse_sources

    parse_sources(values["sources"])


def _check_split(values: Values) -> None:
    from kfp_suite.components.ingest.splitting import parse_split

    rule = parse_split(values["split"])
    if "by" in values["split"] and values["split"]["by"] == "column":
        return
    if "thresholds" in values and "test" not in rule.expected:
        raise ParameterError(
            "no rows for the split 'test', on which the model is evaluated",
            where="split",
            got=values["split"],
            fix="set test_from" if values["split"].get("by") == "time" else "set test above 0",
        )


def _check_schema(values: Values) -> None:
    from kfp_suite.components.validate.schema import parse_schema

    parse_schema(values["schema"])


def _check_validation(values: Values) -> None:
    from kfp_suite.components.validate.parameters import ValidateOptions

    parse(ValidateOptions, values["validation"], "validation")


def _check_features(values: Values) -> None:
    from kfp_suite.components.features.spec import parse_features

    parse_features(values["features"])


def _check_estimator(values: Values) -> None:
    if values.get("module_file") or "." in values["estimator"]:  # needs the step's own image
        return
    from kfp_suite.components.models.estimators import make_estimator

    _check_for_a_task(
        values,
        lambda task: make_estimator(
            values["estimator"], task, values.get("hyperparameters") or {}, seed=0, threads=1
        ),
    )


def _check_search_space(values: Values) -> None:
    from kfp_suite.components.train.tune.space import parse_space

    parse_space(values["search_space"])


def _check_thresholds(values: Values) -> None:
    from kfp_suite.components.evaluate.metrics import METRICS
    from kfp_suite.components.evaluate.parameters import parse_thresholds

    thresholds = values["thresholds"]
    known = [task for task in METRICS if set(thresholds) <= set(METRICS[task])]
    _check_for_a_task(values, lambda task: parse_thresholds(thresholds, task), known)


def _check_comparison(values: Values) -> None:
    from kfp_suite.components.evaluate.parameters import parse_comparison

    _check_for_a_task(values, lambda task: parse_comparison(values["comparison"], task))


def _check_slices(values: Values) -> None:
    from kfp_suite.components.evaluate.slices import parse_slices

    parse_slices(values["slices"])


def _check_infra_limits(values: Values) -> None:
    from kfp_suite.components.infra_validate.limits import Limits

    parse(Limits, values["infra_limits"], "infra_limits")


def _check_runtime(values: Values) -> None:
    from kfp_suite.components.runtimes.layout import parse_options

    parse_options(values["runtime"], values.get("runtime_options") or {})


def _check_endpoint(values: Values) -> None:
    from kfp_suite.components.kserve.settings import parse_settings

    parse_settings(values["endpoint"])


def _check_notify(values: Values) -> None:
    from kfp_suite.components.record.notices import Notices

    parse(Notices, values["notify"], "notify")


def _check_for_a_task(
    values: Values, check: Callable[[Any], object], likely: Iterable[str] = ()
) -> None:
    """Check for the task that is set; while the data will tell it, for any that it may be.

    Args:
        values: All parameters.
        check: Raises ParameterError, given a task.
        likely: The tasks whose error says the most; empty: all are alike.

    Raises:
        ParameterError: no task takes the values.
    """
    from kfp_suite.components.contracts.model import Task

    task = values.get("task") or "auto"
    errors = []
    for candidate in get_args(Task) if task == "auto" else (task,):
        try:
            check(candidate)
            return
        except ParameterError as error:
            errors.append((candidate not in likely, error))
    raise min(errors, key=lambda found: found[0])[1]


_CHECKS: Mapping[str, Callable[[Values], None]] = {
    "sources": _check_sources,
    "split": _check_split,
    "schema": _check_schema,
    "validation": _check_validation,
    "features": _check_features,
    "estimator": _check_estimator,
    "search_space": _check_search_space,
    "thresholds": _check_thresholds,
    "comparison": _check_comparison,
    "slices": _check_slices,
    "infra_limits": _check_infra_limits,
    "runtime": _check_runtime,
    "endpoint": _check_endpoint,
    "notify": _check_notify,
}
"""By the parameter that starts a check: one that is empty is not checked."""
