"""The text of a notification about a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kfp_suite.components.record.notification_config import Outcome
from kfp_suite.contracts import run_record
from kfp_suite.contracts.run_record import RunRecord

FORMAT_VERSION = 1
_MAX_REASONS = 10


@dataclass(frozen=True)
class Message:
    """A run in a few words: how it ended, what it made, why, and where to look.

    `version` is the newest of `versions`, 0 if there is none; `link` empty if no UI was
    named.
    """

    pipeline: str
    run: str
    run_id: str
    status: str
    outcome: Outcome
    model: str
    version: int
    versions: tuple[int, ...]
    endpoint: str
    reasons: tuple[str, ...]
    link: str

    @property
    def title(self) -> str:
        """One line: `train_and_deploy succeeded: flights version 3`."""
        numbers = ", ".join(map(str, self.versions or (self.version,)))
        made = f"{self.model} version{'s' if len(self.versions) > 1 else ''} {numbers}"
        return f"{self.pipeline} {self.outcome}" + (f": {made}" if self.version else "")

    def text(self) -> str:
        """The message in plain text."""
        return "\n".join([self.title, *self._lines()]) + "\n"

    def slack(self) -> dict[str, str]:
        """The message as Slack's `mrkdwn`, what comes from outside escaped."""
        lines = [f"*{_escaped(self.title)}*", *(_escaped(line) for line in self._lines(False))]
        if self.link:
            lines.append(f"<{self.link}|{_escaped(self.run)}>")
        return {"text": "\n".join(lines)}

    def to_json(self) -> dict[str, Any]:
        """The message as a webhook is given it."""
        return {"format_version": FORMAT_VERSION, "title": self.title, **asdict(self)}

    def _lines(self, link: bool = True) -> list[str]:
        lines = [f"- {reason}" for reason in self.reasons[:_MAX_REASONS]]
        if len(self.reasons) > _MAX_REASONS:
            lines.append(f"- and {len(self.reasons) - _MAX_REASONS} more, in the run record")
        if self.endpoint:
            lines.append(f"endpoint: {self.endpoint}")
        lines.append(f"run: {self.run}")
        if link and self.link:
            lines.append(self.link)
        return lines


def message_of(record: RunRecord, ui: str) -> Message:
    """What a notice says of `record`; `ui` is the address of the Kubeflow UI, or empty."""
    endpoint = record.endpoint or {}
    made = record.version or endpoint
    return Message(
        pipeline=record.pipeline,
        run=record.run,
        run_id=record.run_id,
        status=record.status,
        outcome=_outcome(record),
        model=str(made.get("model", "")),
        version=int(made.get("version") or 0),
        versions=tuple(int(one["version"]) for one in record.versions),
        endpoint=str(endpoint.get("url") or ""),
        reasons=tuple(record.reasons),
        link=f"{ui.rstrip('/')}/#/runs/details/{record.run_id}" if ui else "",
    )


def _outcome(record: RunRecord) -> Outcome:
    match record.status:
        case run_record.SUCCEEDED if record.changes and not record.changes["changed"]:
            return "unchanged"
        case run_record.SUCCEEDED:
            promoted = (record.endpoint or {}).get("promoted")
            fine = promoted or record.incomplete or not record.reasons
            return "succeeded" if fine else "refused"
        case run_record.CANCELLED:
            return "cancelled"
        case _:
            return "failed"


def _escaped(text: str) -> str:
    """As Slack asks: these three characters, and no others."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
