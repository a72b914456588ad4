"""What versions did, counted: from the servers' own metrics, or from a Prometheus.

Each server counts for itself, so each is looked at by itself: one that goes takes nothing
away, and one that comes brings nothing along that it did before. Counters only grow; one that
fell was started again at 0, and counts from there.
"""

from __future__ import annotations

import http.client
import json
import math
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from kfp_suite.components.rollout.sequential import Counts
from kfp_suite.contracts.errors import EndpointError

REQUESTS = "kfp_suite_requests_total"
SECONDS = "kfp_suite_request_seconds_bucket"
QUALITY = "kfp_suite_predictions_total"
"""Of a metric endpoint of the user's: labels `model_version` and `outcome`, right or wrong."""
_VERSION = "model_version"
_LABEL = {REQUESTS: "code", SECONDS: "le", QUALITY: "outcome"}
_SECONDS_A_CALL = 10.0
Series = tuple[str, tuple[tuple[str, str], ...]]
Counters = dict[Series, float]
Scrape = dict[str, Counters]
"""The counters of each server, by what tells it from the others."""


@dataclass(frozen=True)
class Observed:
    """What one version did since the rollout began.

    `errors`: answers of 500 or more; `refused`: of 400 to 499; `slow`: by upper bound in
    seconds, the answers that took longer; `wrong`: predictions that were not the label.
    """

    errors: Counts = field(default_factory=Counts)
    refused: Counts = field(default_factory=Counts)
    slow: Mapping[float, Counts] = field(default_factory=dict)
    wrong: Counts = field(default_factory=Counts)

    @property
    def bounds(self) -> list[float]:
        """The bounds that an answer may exceed, ascending."""
        return sorted(bound for bound in self.slow if math.isfinite(bound))

    def bound_from(self, limit: float) -> float:
        """The smallest bound from `limit` on; the largest, where none is."""
        return next((b for b in self.bounds if b >= limit), [limit, *self.bounds][-1])

    def slower_than(self, limit: float) -> Counts:
        """The answers that took longer than `bound_from(limit)`."""
        return self.slow.get(self.bound_from(limit), Counts(0, self.errors.total))


class Growth:
    """What counters have grown by since it was made.

    A server that is first seen later counts from its first look: what it did before may be
    older than the rollout. One that cannot be read for a while goes on from where it was.
    """

    def __init__(self, scrape: Callable[[], Scrape]) -> None:
        """`scrape` reads every counter as it is now."""
        self._scrape = scrape
        self._last = {source: dict(counters) for source, counters in scrape().items()}
        self._grown: defaultdict[Series, float] = defaultdict(float)

    def look(self) -> dict[str, Observed]:
        """What each version did, by `model_version`."""
        for source, counters in self._scrape().items():
            if source in self._last:
                self._add(self._last[source], counters)
            self._last.setdefault(source, {}).update(counters)
        return _by_version(self._grown)

    def _add(self, last: Counters, now: Counters) -> None:
        for series, value in now.items():
            before = last.get(series, 0.0)
            self._grown[series] += value - before if value >= before else value


def _by_version(grown: Mapping[Series, float]) -> dict[str, Observed]:
    failed: defaultdict[str, int] = defaultdict(int)
    refused: defaultdict[str, int] = defaultdict(int)
    total: defaultdict[str, int] = defaultdict(int)
    wrong: defaultdict[str, Counts] = defaultdict(Counts)
    within: defaultdict[str, defaultdict[float, int]] = defaultdict(lambda: defaultdict(int))
    for (name, labels), value in grown.items():
        said, count = dict(labels), round(value)
        version = said[_VERSION]
        if name == REQUESTS:
            total[version] += count
            code = int(said["code"])
            failed[version] += count if code >= 500 else 0
            refused[version] += count if 400 <= code < 500 else 0
        elif name == SECONDS:
            within[version][float(said["le"])] += count
        elif name == QUALITY:
            missed = count if said["outcome"] == "wrong" else 0
            wrong[version] += Counts(missed, count)
    found = {}
    for version in {*total, *within, *wrong}:
        most = within[version].get(math.inf, 0)
        slow = {
            bound: Counts(max(0, most - count), most) for bound, count in within[version].items()
        }
        found[version] = Observed(
            Counts(failed[version], total[version]),
            Counts(refused[version], total[version]),
            slow,
            wrong[version],
        )
    return found


def parse_metrics(text: str, model: str, where: str = "/metrics") -> Counters:
    """The counters of an endpoint in Prometheus's text format.

    Args:
        text: What `/metrics` says.
        model: The endpoint's name; counters of others are left out.
        where: Who said it, for an error.

    Raises:
        EndpointError: it is not that format, or a counter lacks its labels.
    """
    found = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name in _LABEL and sample.labels.get("model_name", model) == model:
                    found[_series(sample.name, sample.labels)] = _number(sample.value)
    except (ValueError, KeyError) as error:
        raise EndpointError(
            "not metrics that can be read",
            where=where,
            got=f"{type(error).__name__}: {error}",
            expected=f"Prometheus's text format; counters have {_VERSION} and code, le or outcome",
        ) from error
    return found


def _series(name: str, labels: Mapping[str, str]) -> Series:
    """Raises ValueError, KeyError if a label is missing or not a number."""
    said, _ = labels[_LABEL[name]], labels[_VERSION]
    if name != QUALITY:
        (int if name == REQUESTS else float)(said)
    return name, tuple(sorted(labels.items()))


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no count")
    return value


def scrape_url(url: str, model: str) -> Scrape:
    """The counters that a `/metrics` says. Raises EndpointError."""
    return {url: parse_metrics(_get(url), model, url)}


def scrape_prometheus(address: str, model: str, namespace: str = "") -> Scrape:
    """The counters of an endpoint's servers, from a Prometheus.

    They are not summed there: a sum falls when one of them goes.

    Args:
        address: `http(s)://host[:port]`.
        model: The endpoint's name.
        namespace: Of its pods; empty: whatever there is.

    Raises:
        EndpointError: it does not answer, or not with a vector.
    """
    wanted = f'model_name="{model}"' + (f',namespace="{namespace}"' if namespace else "")
    found: defaultdict[str, Counters] = defaultdict(dict)
    for name, label in _LABEL.items():
        query = urllib.parse.urlencode({"query": f"{name}{{{wanted}}}"})
        url = f"{address.rstrip('/')}/api/v1/query?{query}"
        text = _get(url)
        try:
            for entry in json.loads(text)["data"]["result"]:
                labels = {key: v for key, v in entry["metric"].items() if key != "__name__"}
                own = {key: labels.pop(key) for key in (_VERSION, label)}
                value = _number(float(entry["value"][1]))
                found[json.dumps(labels, sort_keys=True)][_series(name, own)] = value
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise EndpointError(
                "not an answer of a Prometheus", where=url, got=text, expected="a vector"
            ) from error
    return dict(found)


def _get(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise EndpointError("not an address", where=url, expected="http(s)://…")
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS_A_CALL) as response:  # noqa: S310
            content: bytes = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise EndpointError("the metrics do not answer", where=url, got=str(error)) from error
    return content.decode(errors="replace")
