"""Every step as a call on folders: what it reads is in `inputs`, what it writes in `out`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kfp_suite.components.deploy.executor import DeployParameters, deploy
from kfp_suite.components.evaluate.executor import EvaluateParameters, evaluate
from kfp_suite.components.ingest.executor import IngestParameters, ingest
from kfp_suite.components.push.executor import PushParameters, push
from kfp_suite.components.resolve.executor import resolve
from kfp_suite.components.train.executor import TrainParameters, train
from kfp_suite.components.transform.executor import TransformParameters, transform
from kfp_suite.components.validate.executor import validate
from kfp_suite.components.validate.parameters import ValidateOutputs, ValidateParameters
from kfp_suite.stores.sources import sources_from_json

ROWS = 400


def write_source(inputs: Path) -> None:
    """The raw data that everything starts from."""
    lines = ["id,size,kind,late"]
    lines += [f"{i},{i % 37 / 4},{'abc'[i % 3]},{str(i % 37 > 17).lower()}" for i in range(ROWS)]
    (inputs / "rows.csv").write_text("\n".join(lines) + "\n")


def _resolve(inputs: Path, out: Path) -> None:
    found = resolve({"rows": str(inputs / "rows.csv")}, "", "", "", out / "pins")
    (out / "sources.json").write_text(found.sources)


def _ingest(inputs: Path, out: Path) -> None:
    sources = sources_from_json((inputs / "sources.json").read_text())
    parameters = IngestParameters(split={"by": "hash", "key": ["id"]}, rows_per_shard=100)
    ingest(parameters, sources, out / "dataset", out / "preview")


def _validate(inputs: Path, out: Path) -> None:
    outputs = ValidateOutputs(
        out / "statistics", out / "schema", out / "anomalies", out / "validation"
    )
    assert validate(ValidateParameters(label="late"), inputs / "dataset", outputs).valid


def _transform(inputs: Path, out: Path) -> None:
    transform(
        TransformParameters(label="late"), inputs / "dataset", out / "transform", out / "features"
    )


def _train(inputs: Path, out: Path) -> None:
    parameters = TrainParameters(label="late")
    train(parameters, None, inputs / "dataset", inputs / "transform", out / "model")


def _evaluate(inputs: Path, out: Path) -> None:
    parameters = EvaluateParameters(resamples=20)
    verdict = evaluate(
        parameters, inputs / "dataset", inputs / "model", out / "evaluation", out / "report"
    )
    assert verdict.blessed


def _push(inputs: Path, out: Path) -> None:
    parameters = PushParameters(store=str(out / "store"), model_name="rows")
    push(parameters, inputs / "model", inputs / "evaluation", out / "pushed")


def _deploy(inputs: Path, out: Path) -> None:
    deploy(DeployParameters(), inputs / "pushed", out / "endpoint")


STEPS: dict[str, Callable[[Path, Path], None]] = {
    "resolve": _resolve,
    "ingest": _ingest,
    "validate": _validate,
    "transform": _transform,
    "train": _train,
    "evaluate": _evaluate,
    "push": _push,
    "deploy": _deploy,
}
"""In the order in which each finds its inputs among the outputs of those before."""
