"""A stand-in for KServe's scikit-learn server, which is no package: only its image has it.

What KServe documents of it, around KServe's own server: one `model.joblib` in a folder, the
instances in one call, and probabilities where `PREDICT_PROBA` says so.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import joblib
import kserve
from kserve.utils.utils import get_predict_input, get_predict_response


class SklearnServer(kserve.Model):  # type: ignore[misc]
    """The estimator in a folder."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        (file,) = (one for one in folder.iterdir() if one.suffix in (".joblib", ".pkl", ".pickle"))
        estimator = joblib.load(file)
        likely = os.environ.get("PREDICT_PROBA") == "true" and hasattr(estimator, "predict_proba")
        self._predict = estimator.predict_proba if likely else estimator.predict
        self.ready = True

    def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """Answer in the protocol that was asked in."""
        return get_predict_response(payload, self._predict(get_predict_input(payload)), self.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    parser.add_argument("--model_dir", type=Path, required=True)
    given = parser.parse_args()
    kserve.ModelServer().start([SklearnServer(given.model_name, given.model_dir)])
