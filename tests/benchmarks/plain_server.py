"""What one writes without a suite: a scikit-learn pipeline in a `kserve.Model`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import joblib
import kserve
import pandas as pd
from kserve.utils.utils import get_predict_response
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from kfp_suite.contracts.dataset import read_dataset

LABEL = "late"
TIME = "scheduled_departure"
CATEGORIES = ["carrier", "origin", "dest", "manufacturer"]


def date_parts(frame: pd.DataFrame) -> pd.DataFrame:
    """Month, weekday and minute of the day of the scheduled departure."""
    times = pd.to_datetime(frame[TIME])
    return pd.DataFrame(
        {
            "month": times.dt.month,
            "weekday": times.dt.weekday,
            "minute": times.dt.hour * 60 + times.dt.minute,
        }
    )


def pipeline(frame: pd.DataFrame) -> Pipeline:
    """The features and the estimator of `params/flights.yaml`, fitted."""
    numbers = [name for name in frame if name not in (LABEL, TIME, *CATEGORIES)]
    features = ColumnTransformer(
        [
            ("times", FunctionTransformer(date_parts), [TIME]),
            (
                "categories",
                OneHotEncoder(
                    handle_unknown="infrequent_if_exist", min_frequency=500, sparse_output=False
                ),
                CATEGORIES,
            ),
            ("numbers", "passthrough", numbers),
        ]
    )
    boosting = HistGradientBoostingClassifier(learning_rate=0.1, max_iter=100, random_state=0)
    return Pipeline([("features", features), ("boosting", boosting)]).fit(frame, frame[LABEL])


class Plain(kserve.Model):  # type: ignore[misc]
    """Predict probabilities of a list of records, or of a tensor a column."""

    def __init__(self, fitted: Pipeline) -> None:
        super().__init__("plain")
        self._fitted = fitted
        self.ready = True

    def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """One frame a request, as KServe's scikit-learn server does."""
        if isinstance(payload, kserve.InferRequest):  # where nothing is missing, or it is left out
            frame = payload.as_dataframe().reindex(columns=self._fitted.feature_names_in_)
        else:
            frame = pd.DataFrame(payload["instances"])
        return get_predict_response(payload, self._fitted.predict_proba(frame), self.name)


def main() -> None:
    """Fit, or load what was fitted, and serve: `plain_server.py DATASET PORT MODEL WORKERS`."""
    file = Path(sys.argv[3])
    if not file.exists():
        joblib.dump(pipeline(read_dataset(Path(sys.argv[1])).table("train").to_pandas()), file)
    port, workers = int(sys.argv[2]), int(sys.argv[4])
    logging.disable(logging.CRITICAL)  # a line a request costs a fifth
    server = kserve.ModelServer(http_port=port, enable_grpc=False, workers=workers)
    server.start([Plain(joblib.load(file))])


if __name__ == "__main__":
    main()
