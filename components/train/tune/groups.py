"""The groups that a dataset's own split kept together, for folds that keep them together, too."""

from __future__ import annotations

from typing import Any

import numpy as np

from kfp_suite.components.train.rows import labels_of
from kfp_suite.contracts.dataset import Dataset


def groups_of_split(data: Dataset, label: str) -> Any:
    """The number of each labelled row's group in train, or None if rows stand for themselves.

    Rows of the same `split.key` are of one group: what is learned of some is known of the
    others. Rows whose key is null are one group, as they are in the split.

    Args:
        data: The dataset.
        label: The column to predict; rows without it are left out, as they are in training.
    """
    split = data.manifest.parameters.get("split") or {}
    columns = {column.name for column in data.manifest.columns}
    keys = [name for name in split.get("key") or () if name in columns]
    if split.get("by", "hash") != "hash" or not keys:
        return None
    kept = np.asarray(labels_of(data, "train", label).is_valid())
    table = data.table("train", keys)
    codes = np.zeros(len(kept), np.int64)
    for name in keys:
        parts = table[name].dictionary_encode(null_encoding="encode").unify_dictionaries().chunks
        found = np.concatenate([np.asarray(part.indices, np.int64) for part in parts])
        codes = np.unique(codes * (found.max() + 1) + found, return_inverse=True)[1]
    codes = codes[kept]
    return codes if len(np.unique(codes)) < len(codes) else None
