"""`evaluation.json`: the verdict and the figures behind it, for push, the record and people.

Figures have 10 significant digits; an undefined one is null, with the reason beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kfp_suite.components.evaluate.bootstrap import Measured, round_figure
from kfp_suite.components.evaluate.metrics import RESIDUAL_QUANTILES, RegressionScores
from kfp_suite.components.evaluate.result import Outcome, SliceResult
from kfp_suite.contracts.model import estimator_name

FORMAT_VERSION = 1


def document(outcome: Outcome, dataset_uri: str, model_uri: str) -> dict[str, Any]:
    """The content of `evaluation.json`."""
    manifest, confusion = outcome.manifest, outcome.confusion()
    return {
        "format_version": FORMAT_VERSION,
        "blessed": outcome.blessed,
        "reasons": list(outcome.reasons),
        "warnings": list(outcome.warnings),
        "task": manifest.task,
        "label": manifest.label,
        "split": outcome.split,
        "rows": outcome.rows,
        "unlabelled_rows": outcome.unlabelled,
        "unseen_classes": outcome.unseen,
        "primary_metric": outcome.comparison.metric,
        "metrics": _estimates(outcome.measured[0]),
        "baseline": {
            "predicts": outcome.baseline.says,
            "metrics": {n: round_figure(value) for n, value in outcome.baseline.metrics.items()},
        },
        "residual_quantiles": _residual_quantiles(outcome),
        "confusion": None
        if confusion is None
        else {"classes": confusion.categories, "matrix": confusion.matrix},
        "slices": [_slice(result) for result in outcome.slices],
        "thresholds": [check.to_json() for check in outcome.checks],
        "champion": _champion(outcome),
        "dataset_digest": outcome.dataset_digest,
        "model_digest": manifest.digest,
        "dataset": {"uri": dataset_uri, "digest": outcome.dataset_digest},
        "model": {
            **manifest.recipe.train,
            "estimator": estimator_name(manifest),
            "uri": model_uri,
            "digest": manifest.digest,
            "framework": manifest.framework,
        },
        "bootstrap": {
            "resamples": outcome.resampling.resamples,
            "confidence": outcome.resampling.confidence,
            "seed": outcome.resampling.seed,
        },
    }


def _estimates(measured: Measured | None) -> dict[str, Any] | None:
    if measured is None:
        return None
    return {name: estimate.to_json() for name, estimate in measured.estimates.items()}


def _residual_quantiles(outcome: Outcome) -> dict[str, float | None] | None:
    scores = outcome.scores[0]
    if not isinstance(scores, RegressionScores):
        return None
    values = np.quantile(scores.residuals, RESIDUAL_QUANTILES)
    return {
        f"{share:g}": round_figure(float(value))
        for share, value in zip(RESIDUAL_QUANTILES, values, strict=True)
    }


def _slice(result: SliceResult) -> dict[str, Any]:
    return {
        "slice": result.name,
        "columns": list(result.columns),
        "rows": result.rows,
        "metrics": _estimates(result.challenger),
        "champion_metrics": _estimates(result.champion),
    }


def _champion(outcome: Outcome) -> dict[str, Any] | None:
    champion, duel = outcome.champion, outcome.duel
    if champion is None:
        return None
    return {
        "uri": champion.reference.uri,
        "version": champion.reference.version,
        "manifest_digest": champion.reference.manifest_digest,
        "model_digest": None if champion.manifest is None else champion.manifest.digest,
        "same": champion.same,
        "compared": duel is not None,
        "reason": champion.reason,
        "metrics": _estimates(outcome.measured[1]) if len(outcome.measured) > 1 else None,
        "comparison": None if duel is None else duel.to_json(outcome.comparison),
    }
