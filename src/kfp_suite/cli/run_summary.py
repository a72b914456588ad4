"""The summary at the end of `kfp-suite run`: the outcome, the folder, and the next steps."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from kfp_suite.contracts.errors import KfpSuiteError
from kfp_suite.contracts.run_record import SUCCEEDED
from kfp_suite.local.conclusion import (
    INTERRUPTED,
    NOTHING_NEW,
    PROMOTED,
    PUBLISHED,
    Conclusion,
    conclude,
    open_command,
    shorten_path,
)
from kfp_suite.local.history import LOG, PastRun
from kfp_suite.local.notices import failed_notices
from kfp_suite.local.outputs import Outputs
from kfp_suite.local.reports import collect_reports
from kfp_suite.reports.formatting import interval, number
from kfp_suite.stores.store import open_store
from kfp_suite.stores.versions import ModelStore

HEADLINES = ("roc_auc", "f1_macro", "accuracy", "rmse", "mae", "r2")
_MAX_METRICS = 3
# Where KFP's launcher mounts each kind of store in a step's pod.
_MOUNTS = {"/minio/": "minio://", "/s3/": "s3://", "/gcs/": "gs://"}


def summary_json(run: PastRun, folder: Path, failure: KfpSuiteError | None) -> dict[str, Any]:
    """The object of `run --json`.

    Args:
        run: The run.
        folder: Its folder.
        failure: Why it failed, or its endpoint did.
    """
    record, conclusion = run.record, conclude(run, folder)
    version = record.version or _serving_version(run)
    evaluation = record.evaluation or {}
    return {
        "run_id": record.run,
        "status": "FAILED" if failure else record.status,
        "outcome": conclusion.outcome,
        "pipeline": record.pipeline,
        "folder": str(folder),
        "blessed": evaluation.get("blessed"),
        "reasons": record.reasons,
        "remarks": list(conclusion.remarks),
        "model": version.get("model"),
        "version": version.get("version"),
        "versions": [published["version"] for published in record.versions],
        "aliases": aliases_of(run),
        "uri": version.get("uri"),
        "digest": version.get("digest"),
        "manifest_digest": version.get("manifest_digest"),
        "dataset_digest": evaluation.get("dataset_digest"),
        "metrics": {k: m.get("value") for k, m in evaluation.get("metrics", {}).items()},
        "outputs": {name: str(path) for name, path in Outputs(folder).items()},
        "reports": {step: str(path) for step, path in collect_reports(folder).items()},
        "endpoint": run.endpoint or record.endpoint,
        "steps": {step.name: {"state": step.state, "seconds": step.seconds} for step in run.steps},
        "not_told": failed_notices(folder),
        "error": str(failure) if failure else None,
    }


def print_summary(
    run: PastRun, folder: Path, all_steps: Iterable[str], failed: bool, console: Console
) -> None:
    """Print the outcome of a run.

    Args:
        run: The run.
        folder: Its folder.
        all_steps: The steps of its pipeline, in order.
        failed: Whether it failed, or its endpoint did: the error follows.
        console: Where to print.
    """
    done = {step.name for step in run.steps}
    skipped = [name for name in all_steps if name not in done]
    if skipped:
        verb = "skipped" if run.record.status == SUCCEEDED else "not run"
        console.print(Text.assemble(("- ", "dim"), f"{verb}: {', '.join(skipped)}"))
    rows = [("run", shorten_path(folder)), ("log", shorten_path(folder / LOG))]
    if reports := collect_reports(folder):
        rows.append(("reports", f"{open_command(folder, name='latest')}  ({', '.join(reports)})"))
    print_result(rows, run, aliases_of(run), console)
    conclusion = conclude(run, folder)
    print_remarks(conclusion, console)
    _print_endpoint(run.endpoint, console)
    for notice in failed_notices(folder):
        console.print(Text.assemble(("could not tell ", "yellow"), notice), soft_wrap=True)
    if not failed:
        print_conclusion(conclusion, console)


def print_result(
    place: Iterable[tuple[str, str]],
    run: PastRun,
    aliases: Sequence[str],
    console: Console,
) -> None:
    """Print what a run made, wherever it was: metrics, versions, its endpoint.

    Args:
        place: Where the run and what it left is: names and values.
        run: The run.
        aliases: Of the version that it published.
        console: Where to print.
    """
    console.print()
    shown = dict([*place, *_list_results(run, aliases)])
    width = max(map(len, shown))
    for name, value in shown.items():
        line = Text.assemble((f"{name:>{width}}", "bold"), f"  {value}")
        console.print(line, soft_wrap=True)


def print_remarks(conclusion: Conclusion, console: Console) -> None:
    """Print what the steps of a run noticed.

    Args:
        conclusion: Of the run.
        console: Where to print.
    """
    if conclusion.remarks:
        console.print(Text("\nto look at:", "yellow"))
    for remark in conclusion.remarks:
        console.print(f"  - {remark}", soft_wrap=True, markup=False)


def _serving_version(run: PastRun) -> dict[str, Any]:
    """The version that an endpoint serves after a rollout: what it was about, and no more is known
    of it here. Empty for other runs."""
    endpoint = run.record.endpoint or {}
    return (
        {key: endpoint.get(key) for key in ("model", "version")} if "promoted" in endpoint else {}
    )


def aliases_of(run: PastRun) -> list[str]:
    """The aliases that name the version a run published, if its store can be read."""
    version = run.record.version
    if version is None:
        return []
    try:
        aliases = ModelStore(open_store(version["store"])).aliases(version["model"])
    except KfpSuiteError:
        return []
    return sorted(alias for alias, number in aliases.items() if number == version["version"])


def print_uses(uri: str) -> None:
    """Print the commands that take a published version further.

    Args:
        uri: The version's.
    """
    reproduce = shlex.join(["kfp-suite", "reproduce", uri])
    tune = shlex.join(["kfp-suite", "run", "tune", "--from", uri])
    click.echo(f"make it again:       {reproduce}")
    click.echo(f"search wider around: {tune}")


def headline(run: PastRun, intervals: bool = True) -> list[str]:
    """The metrics that say most of a model, the one it was judged by first.

    Args:
        run: The run.
        intervals: Whether with their confidence intervals.
    """
    evaluation = run.record.evaluation or {}
    order = dict.fromkeys((evaluation.get("primary_metric"), *HEADLINES))
    found = []
    for name in order:
        measured = evaluation.get("metrics", {}).get(name) or {}
        if measured.get("value") is None:
            continue
        low, high = measured.get("low"), measured.get("high")
        shown = (
            f" ({interval(low, high)})"
            if intervals and low is not None and high is not None
            else ""
        )
        found.append(f"{name} {number(measured['value'])}{shown}")
    return found[:_MAX_METRICS]


def _list_results(run: PastRun, aliases: Sequence[str]) -> Iterator[tuple[str, str]]:
    record, endpoint = run.record, run.record.endpoint or {}
    if metrics := headline(run):
        yield "metrics", ", ".join(metrics)
    if champion := _champion(run):
        yield "champion", champion
    for older in record.versions[:-1]:
        yield f"model {older['version']}", f"{older['model']} version {older['version']}"
    if record.version:
        told = ", ".join(aliases) or "no alias"
        yield "model", f"{record.version['model']} version {record.version['version']}: {told}"
        yield "stored at", shorten_path(record.version["uri"])
        yield "digest", record.version["digest"]
    if serving := _serving_version(run):
        yield "endpoint", f"{serving['model']} version {serving['version']}"
    if endpoint.get("url"):
        yield "address", endpoint["url"]
    if endpoint.get("manifest"):
        yield "manifest", shorten_path(_artifact_address(endpoint["manifest"]))


def _artifact_address(path: str) -> str:
    """The address of an artifact that a step on Kubeflow names by its path; else the path."""
    for mount, scheme in _MOUNTS.items():
        if path.startswith(mount):
            return scheme + path.removeprefix(mount)
    return path


def _champion(run: PastRun) -> str:
    """How the model was compared with the champion; empty if it was not."""
    champion = (run.record.evaluation or {}).get("champion") or {}
    duel = champion.get("comparison")
    if not duel:
        return ""
    difference = duel["difference"]
    value, low, high = (difference.get(key) for key in ("value", "low", "high"))
    better = "no difference" if not value else f"{'better' if value > 0 else 'worse'} by "
    amount = number(abs(value)) if value else ""
    shown = f" ({interval(low, high)})" if low is not None and high is not None else ""
    known = f"version {champion['version']}: {duel['metric']} {number(duel['champion'])}"
    return f"{known}; this one is {better}{amount}{shown}"


def print_conclusion(conclusion: Conclusion, console: Console) -> None:
    """Print the outcome of a run that went well, if it is not what the run is for, and what to do.

    Args:
        conclusion: Of the run.
        console: Where to print.
    """
    heads = {
        NOTHING_NEW: ("nothing was trained:", "cyan"),
        PROMOTED: ("promoted", "green"),
        PUBLISHED: ("published; no endpoint serves it yet", "yellow"),
    }
    head, style = heads.get(conclusion.outcome, (f"{conclusion.outcome}:", "yellow"))
    if conclusion.outcome == INTERRUPTED:
        console.print()
    if conclusion.refused or conclusion.outcome in heads:
        console.print(Text(f"\n{head}", style))
        for reason in conclusion.reasons:
            console.print(f"  - {reason}", soft_wrap=True, markup=False)
    for purpose, step in conclusion.next_steps.items():
        console.print(f"{purpose}:  {step}", soft_wrap=True, markup=False)


def _print_endpoint(endpoint: dict[str, Any] | None, console: Console) -> None:
    if not endpoint:
        return
    console.print("\n[green]the endpoint answered:[/]", end=" ")
    console.print(json.dumps(endpoint["answer"]), soft_wrap=True, markup=False)
    console.print(f"\nkeep it up:  {endpoint['serve']}", soft_wrap=True, markup=False)
    console.print(f"and ask it:  {endpoint['curl']}", soft_wrap=True, markup=False)
