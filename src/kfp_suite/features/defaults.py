"""Default features: those of `auto`, by the type of a column.

| column                         | features                                                 |
|--------------------------------|----------------------------------------------------------|
| int64, float64                 | impute with the median, scale to mean 0 and deviation 1  |
| bool                           | impute with the most frequent value                      |
| string, at most 32 distinct    | one_hot, a slot for others, a slot for missing           |
| string, more                   | hash into 64 buckets, missing a value of its own         |
| date                           | cyclic: month, weekday; missing has no direction         |
| timestamp                      | cyclic: month, weekday, hour; missing has no direction   |

A column that is constant or all null in the train split gives no feature.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from kfp_suite.contracts.columns import Column
from kfp_suite.contracts.dataset import Dataset
from kfp_suite.features.calendar import Cyclic
from kfp_suite.features.categorical import Hash, OneHot
from kfp_suite.features.numeric import Impute, Scale
from kfp_suite.features.operation import Operation
from kfp_suite.features.spec import Feature

FEW_DISTINCT = 32
HASH_BUCKETS = 64


def default_features(data: Dataset, columns: Sequence[Column]) -> tuple[Feature, ...]:
    """The default features of `columns`, after one pass over the train split."""
    distinct: dict[str, set[object]] = {column.name: set() for column in columns}
    for batch in data.batches("train", list(distinct)):
        for name, seen in distinct.items():
            if len(seen) <= FEW_DISTINCT:
                seen.update(_some_distinct(batch.column(name)))
    return tuple(
        Feature((column.name,), _steps(column, len(distinct[column.name])))
        for column in columns
        if len(distinct[column.name]) > 1
    )


def _some_distinct(array: pa.Array) -> list[object]:
    """The distinct values; enough of them to know that they are many."""
    array = array.drop_null()
    if pa.types.is_floating(array.type):
        array = array.filter(pc.invert(pc.is_nan(array)))
    # A date or time may lie beyond Python's range: its number identifies it.
    some = pc.unique(array)[: FEW_DISTINCT + 1]
    if pa.types.is_temporal(some.type):
        some = some.view(pa.int32() if pa.types.is_date32(some.type) else pa.int64())
    return some.to_pylist()  # type: ignore[no-any-return]


def _steps(column: Column, distinct: int) -> tuple[Operation, ...]:
    match column.type:
        case "int64" | "float64":
            return (Impute(strategy="median"), Scale())
        case "bool":
            return (Impute(strategy="most_frequent"),)
        case "string" if distinct <= FEW_DISTINCT:
            return (OneHot(oov=1, missing="indicator"),)
        case "string":
            return (Hash(buckets=HASH_BUCKETS, missing="bucket"),)
        case "date":
            return (Cyclic(parts=("month", "weekday"), missing="zeros"),)
        case _:
            return (Cyclic(parts=("month", "weekday", "hour"), missing="zeros"),)
