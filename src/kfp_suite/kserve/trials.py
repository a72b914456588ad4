"""Names and labels of candidates on trial, which tell them apart from endpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kfp_suite.contracts.digests import digest_value
from kfp_suite.kserve.manifests import PREFIX

TRIAL = f"{PREFIX}/trial"
RUN = f"{PREFIX}/run"
_MAX_CHARS = 63  # of a label's value


def trial_name(model: str, digest: str, run_id: str) -> str:
    """The name of a run's trial of a candidate: the same for its retry, another for any other.

    Args:
        model: The model's name.
        digest: The candidate's.
        run_id: The run's; empty: outside of one.
    """
    own = digest_value({"candidate": digest, "run": run_id}).rpartition(":")[2][:8]
    return f"{model[:50].rstrip('-')}-{own}"


def trial_labels(run_id: str) -> dict[str, str]:
    """The labels of an InferenceService that is a trial of a run."""
    run = re.sub(r"[^A-Za-z0-9._-]", "-", run_id)[:_MAX_CHARS].strip("-_.")
    return {TRIAL: "true", **({RUN: run} if run else {})}


def is_trial(service: Mapping[str, Any]) -> bool:
    """Whether an InferenceService is a trial: one that is left belongs to a run that was killed."""
    return TRIAL in service["metadata"].get("labels", {})
