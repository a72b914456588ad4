"""Labelled records, sent to the endpoint: which version answered, and was it right."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kfp_suite.components.rollout.measuring import Observed
from kfp_suite.components.rollout.sequential import Counts
from kfp_suite.contracts.errors import DataError, EndpointError
from kfp_suite.runtimes.http_client import ask
from kfp_suite.runtimes.protocol import Question
from kfp_suite.stores.files import read_file

ROWS_A_REQUEST = 10

log = logging.getLogger(__name__)


class Labelled:
    """Records with their labels; each is asked for once, so that they are independent."""

    def __init__(self, records: Sequence[Mapping[str, Any]], label: str, tolerance: float) -> None:
        """Of records that hold their label; `tolerance`: how far a number may be off."""
        self._label, self._tolerance = label, tolerance
        self._waiting: Iterator[Sequence[Mapping[str, Any]]] = (
            records[start : start + ROWS_A_REQUEST]
            for start in range(0, len(records), ROWS_A_REQUEST)
        )
        self.wrong: dict[str, Counts] = {}

    @classmethod
    def read(cls, uri: str, label: str, tolerance: float) -> Labelled:
        """Of a file of JSON Lines.

        Raises:
            MissingError: there is no such file.
            DataError: a line that is not an object with the label.
        """
        records = []
        for number, line in enumerate(read_file(uri).splitlines(), 1):
            try:
                record = json.loads(line)
                record[label]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    "not a labelled record",
                    where=f"{uri}, line {number}",
                    got=line.decode(errors="replace"),
                    expected=f"a JSON object with '{label}'",
                ) from error
            records.append(record)
        return cls(records, label, tolerance)

    def send(self, base: str, name: str, headers: Mapping[str, str], requests: int) -> None:
        """Ask for the next records.

        An answer that is none is an error of the side that gave it, which counts it itself;
        one without a prediction a record is wrong in each.
        """
        for _ in range(requests):
            records = next(self._waiting, None)
            if records is None:
                return
            rows = [{k: v for k, v in r.items() if k != self._label} for r in records]
            question = Question(f"/v1/models/{name}:predict", {"instances": rows})
            try:
                answer = ask(base, question, headers=headers)
            except EndpointError as error:
                log.warning("labelled records: %s", error)
                continue
            before = self.wrong.get(answer.version, Counts())
            missed = Counts(self._missed(answer.body, records), len(records))
            self.wrong[answer.version] = before + missed

    def add_to(self, observed: Mapping[str, Observed]) -> dict[str, Observed]:
        """What was observed, with these predictions."""
        found = dict(observed)
        for version, counts in self.wrong.items():
            seen = found.get(version, Observed())
            found[version] = replace(seen, wrong=seen.wrong + counts)
        return found

    def _missed(self, body: Any, records: Sequence[Mapping[str, Any]]) -> int:
        said = body.get("predictions") if isinstance(body, Mapping) else None
        if not isinstance(said, list) or len(said) != len(records):
            return len(records)
        pairs = zip(said, records, strict=True)
        return sum(self._is_wrong(one, record[self._label]) for one, record in pairs)

    def _is_wrong(self, prediction: Any, label: Any) -> bool:
        numbers = isinstance(label, (int, float)) and isinstance(prediction, (int, float))
        if numbers and not isinstance(label, bool):
            return not abs(prediction - label) <= self._tolerance
        return bool(prediction != label)
