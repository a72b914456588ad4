"""One way in which data is not as expected.

Kinds are those of TensorFlow Metadata's `AnomalyInfo.Type`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Anomaly:
    """A contradiction of data and expectation.

    Attributes:
        feature: The column; empty for the dataset as a whole.
        kind: A name of `AnomalyInfo.Type`.
        description: A sentence.
        got: What the data has.
        expected: What the schema wants.
        split: The split at fault; empty for all of them.
    """

    feature: str
    kind: str
    description: str
    got: str
    expected: str
    split: str
    severity: Severity

    def sentence(self) -> str:
        """Description, value and expectation in one line, the column first."""
        what = f"{self.description.rstrip('.')}; got {self.got}, expected {self.expected}"
        return f"{self.feature}: {what}" if self.feature else what

    def to_json(self) -> dict[str, Any]:
        """The anomaly as it stands in `validation.json`."""
        return asdict(self)
