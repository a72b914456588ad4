"""What versions did, counted: from the servers' own metrics, or from a Prometheus.

Counters only grow; one that fell was started again at 0, and counts from there.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from kfp_suite.components.contracts.errors import EndpointError
from kfp_suite.components.rollout.sequential import Counts

REQUESTS = "kfp_suite_requests_total"
SECONDS = "kfp_suite_request_seconds_bucket"
QUALITY = "kfp_suite_predictions_total"
"""Of a metric endpoint of the user's: labels `model_version` and `outcome`, right or wrong."""
_SECONDS_A_CALL = 10.0
Series = tuple[str, tuple[tuple[str, str], ...]]
Scrape = Mapping[Series, float]


@dataclass(frozen=True)
class Observed:
    """What one version did since the rollout began.

    `errors`: answers of 500 or more; `slow`: by upper bound in seconds, the answers that
    took longer; `wrong`: predictions that were not the label.
    """

    errors: Counts = field(default_factory=Counts)
    slow: Mapping[float, Counts] = field(default_factory=dict)
    wrong: Counts = field(default_factory=Counts)

    def slower_than(self, limit: float) -> Counts:
        """The answers that took longer than the smallest bound from `limit` on."""
        for bound in sorted(self.slow):
            if bound >= limit:
                return self.slow[bound]
        return Counts(0, self.errors.total)


class Growth:
    """What counters have grown by since it was made."""

    def __init__(self, scrape: Callable[[], Scrape]) -> None:
        """`scrape` reads every counter as it is now."""
        self._scrape = scrape
        self._last = dict(scrape())
        self._grown: defaultdict[Series, float] = defaultdict(float)

    def look(self) -> dict[str, Observed]:
        """What each version did, by `model_version`."""
        now = self._scrape()
        for series, value in now.items():
            before = self._last.get(series, 0.0)
            self._grown[series] += value - before if value >= before else value
        self._last = dict(now)
        return _by_version(self._grown)


def _by_version(grown: Mapping[Series, float]) -> dict[str, Observed]:
    bad: defaultdict[str, int] = defaultdict(int)
    total: defaultdict[str, int] = defaultdict(int)
    wrong: defaultdict[str, Counts] = defaultdict(Counts)
    within: defaultdict[str, defaultdict[float, int]] = defaultdict(lambda: defaultdict(int))
    for (name, labels), value in grown.items():
        said, count = dict(labels), round(value)
        version = said.get("model_version", "")
        if name == REQUESTS:
            total[version] += count
            bad[version] += count if int(said["code"]) >= 500 else 0
        elif name == SECONDS:
            within[version][float(said["le"])] += count
        elif name == QUALITY:
            missed = count if said.get("outcome") == "wrong" else 0
            wrong[version] += Counts(missed, count)
    found = {}
    for version in {*total, *within, *wrong}:
        most = within[version].get(float("inf"), 0)
        slow = {
            bound: Counts(max(0, most - count), most) for bound, count in within[version].items()
        }
        found[version] = Observed(Counts(bad[version], total[version]), slow, wrong[version])
    return found


def parse_metrics(text: str, model: str, source: str = "") -> dict[Series, float]:
    """The counters of an endpoint in Prometheus's text format.

    Args:
        text: What `/metrics` says.
        model: The endpoint's name; counters of others are left out.
        source: Which server said it: each has counters of its own.
    """
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            wanted = sample.name in (REQUESTS, SECONDS, QUALITY)
            if wanted and sample.labels.get("model_name", model) == model:
                labels = {**sample.labels, "source": source}
                found[(sample.name, tuple(sorted(labels.items())))] = sample.value
    return found


def scrape_url(url: str, model: str) -> dict[Series, float]:
    """The counters that a `/metrics` says. Raises EndpointError."""
    return parse_metrics(_get(url), model, url)


def scrape_prometheus(address: str, model: str, namespace: str = "") -> dict[Series, float]:
    """The counters of an endpoint, summed over its servers by a Prometheus.

    Args:
        address: `http(s)://host[:port]`.
        model: The endpoint's name.
        namespace: Of its pods; empty: whatever there is.

    Raises:
        EndpointError: it does not answer, or not with a vector.
    """
    wanted = f'model_name="{model}"' + (f',namespace="{namespace}"' if namespace else "")
    found = {}
    for name, labels in (
        (REQUESTS, "model_version, code"),
        (SECONDS, "model_version, le"),
        (QUALITY, "model_version, outcome"),
    ):
        query = urllib.parse.urlencode({"query": f"sum by ({labels}) ({name}{{{wanted}}})"})
        url = f"{address.rstrip('/')}/api/v1/query?{query}"
        for entry in _vector(_get(url), url):
            found[(name, tuple(sorted(entry["metric"].items())))] = float(entry["value"][1])
    return found


def _vector(text: str, url: str) -> Iterable[Any]:
    try:
        answer = json.loads(text)
        result: list[Any] = answer["data"]["result"]
    except (ValueError, KeyError, TypeError) as error:
        raise EndpointError(
            "not an answer of a Prometheus", where=url, got=text, expected="a vector"
        ) from error
    return result


def _get(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise EndpointError("not an address", where=url, expected="http(s)://…")
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS_A_CALL) as response:  # noqa: S310
            content: bytes = response.read()
    except (OSError, urllib.error.URLError) as error:
        raise EndpointError("the metrics do not answer", where=url, got=str(error)) from error
    return content.decode(errors="replace")
