"""Which version answers a request."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from kfp_suite.server.gateway.backends import Backend

_MODEL_PATH = re.compile(r"/v[12]/models/([^/:]+)")


@dataclass
class Route:
    """An endpoint: its stable version, and a candidate with its share of the requests, or
    with copies of a share of them (`shadow`)."""

    stable: Backend
    candidate: Backend | None = None
    percent: int = 0
    shadow: int = 0
    _owed: int = field(default=0, repr=False)
    _copies_owed: int = field(default=0, repr=False)

    def sides(self) -> list[Backend]:
        """The versions, the stable one first."""
        return [self.stable, *([self.candidate] if self.candidate else [])]

    def choose(self, wanted: str = "") -> list[Backend]:
        """The backends to try, in this order until one answers.

        Shares are exact, not drawn: of 10 requests at 10 percent the candidate gets one.

        Args:
            wanted: The version that a header names: that one alone, or none if it is not
                served; empty: by share.
        """
        sides = self.sides()
        if wanted:
            return [side for side in sides if wanted == str(side.served.version)]
        if self.candidate is None:
            return sides
        self._owed += self.percent
        if self._owed < 100:
            return sides if self.percent else [self.stable]
        self._owed -= 100
        return [self.candidate, self.stable]

    def copied_to(self) -> Backend | None:
        """The shadow that gets a copy of this request, if any."""
        if self.candidate is None:
            return None
        self._copies_owed += self.shadow
        if self._copies_owed < 100:
            return None
        self._copies_owed -= 100
        return self.candidate


def model_of(path: str) -> str:
    """The model that a path of V1 or V2 names, empty if it names none."""
    found = _MODEL_PATH.match(path)
    return found.group(1) if found else ""
