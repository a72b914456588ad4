"""The counters of an endpoint, by version: the figures that a rollout judges by.

    kfp_suite_requests_total{model_name, model_version, code}
    kfp_suite_request_seconds{model_name, model_version}        a histogram
    kfp_suite_answer_seconds_total{model_name, model_version, code}  how long they took in all
    kfp_suite_records_total{model_name, model_version}          records that were predicted
    kfp_suite_left_out_total{model_name, model_version, field}  records that leave a field out

The server counts its own answers; the gateway those that its clients got.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

BUCKETS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0),
)
"""Upper bounds in seconds: a limit of a rollout is one of them."""
_LABELS = ("model_name", "model_version")
REQUESTS = "kfp_suite_requests"
ANSWER_SECONDS = "kfp_suite_answer_seconds"
RECORDS = "kfp_suite_records"


class EndpointMetrics:
    """The metrics, in a registry of Prometheus."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.requests = Counter(
            REQUESTS, "Requests answered.", (*_LABELS, "code"), registry=registry
        )
        self.seconds = Histogram(
            "kfp_suite_request_seconds",
            "How long requests took.",
            _LABELS,
            buckets=BUCKETS,
            registry=registry,
        )
        self.answer_seconds = Counter(
            ANSWER_SECONDS,
            "Seconds that requests took in all.",
            (*_LABELS, "code"),
            registry=registry,
        )
        self.records = Counter(RECORDS, "Records predicted.", _LABELS, registry=registry)
        self.left_out = Counter(
            "kfp_suite_left_out",
            "Records that leave a field out, which is then missing.",
            (*_LABELS, "field"),
            registry=registry,
        )

    def observe_left_out(self, model: str, version: str, fields: Mapping[str, int]) -> None:
        """Count the records without a field, by its name."""
        for field, records in fields.items():
            self.left_out.labels(model, version, field).inc(records)

    def observe(self, model: str, version: str, code: int, seconds: float) -> None:
        """Count one answered request."""
        self.requests.labels(model, version, code).inc()
        self.seconds.labels(model, version).observe(seconds)
        self.answer_seconds.labels(model, version, code).inc(seconds)


METRICS = EndpointMetrics()
"""What this process counts."""


def sum_by_code(
    registry: CollectorRegistry, counter: str, model: str, version: str
) -> dict[str, float]:
    """The totals of a counter for one version, by HTTP status.

    Args:
        registry: The registry of the counter.
        counter: The name of the counter.
        model: The model's name.
        version: The model's version.

    Returns:
        Totals by status; those without a status under the empty text.
    """
    totals: dict[str, float] = {}
    for metric in registry.collect():
        if metric.name != counter:
            continue
        for sample in metric.samples:
            labels = sample.labels
            if (sample.name, labels["model_name"], labels["model_version"]) == (
                f"{counter}_total",
                model,
                version,
            ):
                code = labels.get("code", "")
                totals[code] = totals.get(code, 0.0) + sample.value
    return totals
