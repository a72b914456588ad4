"""Check the values of a run's parameters before its first step.

Each step checks its own parameters when it starts, which for `thresholds` is after training.
The checks that need no data are made here as well, with the parsers of the components, so that
a misspelt key costs a second and not a run. Data, columns and stores remain the steps' own.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, get_args

from kfp_suite.contracts.errors import MissingError, ParameterError, did_you_mean
from kfp_suite.contracts.parameters import parse
from kfp_suite.image_builder.families import family_of

if TYPE_CHECKING:
    from kfp_suite.components.ingest.splitting import SplitRule

Values = Mapping[str, Any]

# A library that each family's steps import first, and no other family's do.
_LIBRARIES = {"tensorflow": "tensorflow", "tfx": "tensorflow_transform"}


def check_values(pipeline_values: Values) -> None:
    """Make the checks that need no data.

    Args:
        pipeline_values: Every parameter of a pipeline of the suite: name to value.

    Raises:
        ParameterError: naming the parameter and the key at fault.
    """
    for error in check_all_values(pipeline_values).errors:
        raise error


@dataclass(frozen=True)
class Findings:
    """The findings of a check of parameters.

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
        The findings: of single values, then of what the steps parse.
    """
    errors: dict[str, ParameterError] = {}
    unchecked = []
    for name, check in _checks_of(pipeline_values):
        try:
            check(pipeline_values)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("kfp_suite"):
                raise
            unchecked.append(name)
        except ParameterError as error:
            named = _name_parameter(error, name, pipeline_values)
            errors.setdefault(_first_word(named), named)
    return Findings(tuple(errors.values()), tuple(unchecked))


def check_libraries(images: Iterable[str]) -> None:
    """Check that the libraries of these images' families are installed here.

    Args:
        images: The images of the steps of a pipeline.

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
    head = _first_word(error)
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


def _first_word(error: ParameterError) -> str:
    """The parameter that the error names, without the key inside it."""
    return re.split(r"\W", error.where or "", maxsplit=1)[0]


def _checks_of(values: Values) -> Iterator[tuple[str, Callable[[Values], None]]]:
    """The checks of the steps that the pipeline has, each by the parameter that starts it."""
    for step in _STEPS:
        if all(name in values for name in step.fields):
            yield from ((name, step.check_of(name)) for name in step.fields)
    yield from ((name, check) for name, check in _CHECKS.items() if values.get(name))


@dataclass(frozen=True)
class _Step:
    """A step with a dataclass that checks its single values.

    Attributes:
        load: Imports the dataclass.
        fields: A parameter of the pipeline, and the field that it becomes. A pipeline that
            lacks one of them does not have the step.
        usual: Right values of other fields that have to be given.
    """

    load: Callable[[], type]
    fields: Mapping[str, str]
    usual: Values = field(default_factory=dict)

    def check_of(self, name: str) -> Callable[[Values], None]:
        """The check of the parameter `name` alone, so that another's error does not hide it."""

        def check(values: Values) -> None:
            given = {**self.usual, self.fields[name]: values[name]}
            parse(self.load(), given, name)

        return check


def _ingest_parameters() -> type:
    from kfp_suite.components.ingest.executor import IngestParameters

    return IngestParameters


def _evaluate_parameters() -> type:
    from kfp_suite.components.evaluate.executor import EvaluateParameters

    return EvaluateParameters


def _objective() -> type:
    from kfp_suite.components.train.training_data import Objective

    return Objective


def _infra_parameters() -> type:
    from kfp_suite.components.infra_validate.executor import InfraParameters

    return InfraParameters


def _deploy_parameters() -> type:
    from kfp_suite.components.deploy.executor import DeployParameters

    return DeployParameters


def _rollout_parameters() -> type:
    from kfp_suite.components.rollout.parameters import RolloutParameters

    return RolloutParameters


def _check_model_name(values: Values) -> None:
    from kfp_suite.stores.versions import check_model_name

    check_model_name(values["model_name"])


def _check_task(values: Values) -> None:
    from kfp_suite.contracts.model import Task

    allowed = ("auto", *get_args(Task))
    if values["task"] not in allowed:
        raise ParameterError(
            "not allowed",
            where="task",
            got=values["task"],
            expected=" or ".join(allowed),
            fix=did_you_mean(values["task"], allowed),
        )


def _check_sources(values: Values) -> None:
    from kfp_suite.stores.sources import parse_sources

    parse_sources(values["sources"])


def _check_split(values: Values) -> None:
    from kfp_suite.components.ingest.splitting import parse_split

    rule = parse_split(values["split"])
    _check_bounds(rule)
    if "by" in values["split"] and values["split"]["by"] == "column":
        return
    if "thresholds" in values and "test" not in rule.expected:
        raise ParameterError(
            "no rows for the split 'test', on which the model is evaluated",
            where="split",
            got=values["split"],
            fix="set test_from" if values["split"].get("by") == "time" else "set test above 0",
        )


def _check_bounds(rule: SplitRule) -> None:
    """Check the bounds as those of some type of column: which one depends on the data."""
    from kfp_suite.components.ingest.splitting import BOUNDS, TimeSplit
    from kfp_suite.contracts.columns import Column

    if not isinstance(rule, TimeSplit):
        return
    errors = []
    for kind in BOUNDS:
        try:
            rule.expression((Column(rule.column, kind),))
            return
        except ParameterError as error:
            errors.append((error.where != "split", error))  # bounds that are read, say more
    raise min(errors, key=lambda found: found[0])[1]


def _check_windows(values: Values) -> None:
    from kfp_suite.components.windows.executor import WindowsParameters, windows

    names = ("sources", "sql", "start", "end", "every")
    parameters = WindowsParameters(**{name: values[name] for name in names if name in values})
    with TemporaryDirectory() as folder:
        windows(parameters, Path(folder) / "windows")


def _check_schema(values: Values) -> None:
    from kfp_suite.components.validate.schema_spec import parse_schema

    parse_schema(values["schema"])


def _check_validation(values: Values) -> None:
    from kfp_suite.components.validate.parameters import ValidateOptions

    parse(ValidateOptions, values["validation"], "validation")


def _check_features(values: Values) -> None:
    from kfp_suite.features.spec import parse_features

    parse_features(values["features"])


def _check_estimator(values: Values) -> None:
    if values.get("module_file") or "." in values["estimator"]:  # needs the step's own image
        return
    from kfp_suite.models.estimators import check_estimator, make_estimator

    name, given = values["estimator"], values.get("hyperparameters")
    if given:  # which only the library knows; its import takes seconds
        _check_for_a_task(values, lambda task: make_estimator(name, task, given, seed=0, threads=1))
    else:
        _check_for_a_task(values, lambda task: check_estimator(name, task))


def _check_class_weight(values: Values) -> None:
    from kfp_suite.components.train.labels import Target
    from kfp_suite.components.train.rows import class_weights

    given = values["class_weight"]
    classes = tuple(given)  # as if the data had these

    _check_for_a_task(
        values,
        lambda task: class_weights(given, Target(task, classes), range(len(classes))),
        ("binary", "multiclass"),
    )


def _check_calibration(values: Values) -> None:
    from kfp_suite.components.train.executor import TrainParameters

    TrainParameters(label="label", calibration=values["calibration"])


def _check_search(values: Values) -> None:
    from kfp_suite.components.train.tune.plan.executor import PlanParameters, plan_trials

    names = ("search_space", "estimator", "search", "trials", "shards")
    parameters = PlanParameters(**{name: values[name] for name in names if name in values})
    with TemporaryDirectory() as folder:
        plan_trials(parameters, Path(folder) / "plan")


def _check_metric(values: Values) -> None:
    from kfp_suite.components.train.tune.scoring import metric_of

    _check_for_a_task(values, lambda task: metric_of(values["metric"], task))


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


def _check_target(values: Values) -> None:
    from kfp_suite.kserve.target import check_target

    check_target(values["target"])


def _check_namespace(values: Values) -> None:
    from kfp_suite.kserve.target import check_namespace

    check_namespace(values["namespace"])


def _check_infra_limits(values: Values) -> None:
    from kfp_suite.components.infra_validate.limits import Limits

    parse(Limits, values["infra_limits"], "infra_limits")


def _check_runtime(values: Values) -> None:
    from kfp_suite.runtimes.layout import parse_options

    parse_options(values["runtime"], values.get("runtime_options") or {})


def _check_endpoint(values: Values) -> None:
    from kfp_suite.kserve.settings import parse_settings

    parse_settings(values["endpoint"])


def _check_notify(values: Values) -> None:
    from kfp_suite.components.record.notification_config import Notices

    parse(Notices, values["notify"], "notify")


def _check_for_a_task(
    values: Values, check: Callable[[Any], object], likely: Iterable[str] = ()
) -> None:
    """Check for the task that is set; for any, if it depends on the data or is no task.

    Args:
        values: All parameters.
        check: Raises ParameterError, given a task.
        likely: The tasks with the most helpful error; empty: all are alike.

    Raises:
        ParameterError: no task takes the values.
    """
    from kfp_suite.contracts.model import Task

    tasks = get_args(Task)
    errors = []
    for candidate in (values["task"],) if values.get("task") in tasks else tasks:
        try:
            check(candidate)
            return
        except ParameterError as error:
            errors.append((candidate not in likely, error))
    raise min(errors, key=lambda found: found[0])[1]


_STEPS = (
    _Step(
        _ingest_parameters,
        {
            "on_bad_rows": "on_bad_rows",
            "max_bad_fraction": "max_bad_fraction",
            "max_query_seconds": "max_query_seconds",
        },
    ),
    _Step(_evaluate_parameters, {"min_slice_rows": "min_slice_rows"}),
    _Step(
        _objective,
        {
            "label": "label",
            "early_stopping": "early_stopping",
            "threshold": "threshold",
            "seed": "seed",
        },
        {"label": "label"},
    ),
    _Step(_infra_parameters, {"infra_place": "place"}, {"name": "model"}),
    _Step(_deploy_parameters, {"deploy_on_failure": "on_failure"}),
    _Step(_deploy_parameters, {"timeout_seconds": "timeout_seconds"}),
    _Step(
        _rollout_parameters,
        {
            "steps": "steps",
            "shadow": "shadow",
            "step_seconds": "step_seconds",
            "look_seconds": "look_seconds",
            "undecided": "undecided",
            "limits": "limits",
            "attempt": "attempt",
        },
        # Copies of requests are allowed if the first step is 0.
        {"store": "store", "model_name": "model", "manifest": "file", "steps": (0, 100)},
    ),
)
"""The checks of single values."""

_CHECKS: Mapping[str, Callable[[Values], None]] = {
    "model_name": _check_model_name,
    "task": _check_task,
    "target": _check_target,
    "namespace": _check_namespace,
    "sources": _check_sources,
    "start": _check_windows,
    "split": _check_split,
    "schema": _check_schema,
    "validation": _check_validation,
    "features": _check_features,
    "estimator": _check_estimator,
    "class_weight": _check_class_weight,
    "calibration": _check_calibration,
    "search": _check_search,
    "metric": _check_metric,
    "thresholds": _check_thresholds,
    "comparison": _check_comparison,
    "slices": _check_slices,
    "infra_limits": _check_infra_limits,
    "runtime": _check_runtime,
    "endpoint": _check_endpoint,
    "notify": _check_notify,
}
"""By the parameter that starts a check: one that is empty is not checked."""
