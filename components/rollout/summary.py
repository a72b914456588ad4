"""A rollout in words, for the page of its run."""

from __future__ import annotations

from kfp_suite.components.rollout.outcome import Outcome
from kfp_suite.reports.markdown import escape_markdown


def summary(outcome: Outcome) -> str:
    """Markdown: the verdict, and a table a step."""
    beside = f"at {outcome.share} %" if outcome.share else "rolled back"
    verdict = "promoted" if outcome.promoted else beside
    lines = [
        f"# {outcome.name}: version {outcome.version} {verdict}",
        "",
        escape_markdown(outcome.why),
        "",
    ]
    if outcome.before:
        lines += [f"Before: version {outcome.before}.", ""]
    for step in outcome.steps:
        lines += [
            f"## {step.percent} % for {step.seconds:,.0f} s: {step.judgement['verdict']}",
            "",
            "| | before | candidate | more allowed | sure it is worse | sure it is not |",
            "|---|---|---|---|---|---|",
        ]
        for one in step.judgement["criteria"]:
            lines.append(
                f"| {one['name']} | {_share(one['stable'])} | {_share(one['candidate'])} "
                f"| {one['margin']:.1%} | {one['worse']:.2%} | {one['good']:.2%} |"
            )
        lines.append("")
    return "\n".join(lines)


def _share(counts: dict[str, int]) -> str:
    if not counts["total"]:
        return "none"
    return f"{counts['bad'] / counts['total']:.2%} of {counts['total']:,}"
