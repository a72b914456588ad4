"""Every operation by the name it has in a spec: names are a contract, kept for good."""

from __future__ import annotations

from kfp_suite.features.calendar import Cyclic, DateParts
from kfp_suite.features.categorical import Cross, Hash, OneHot, Ordinal
from kfp_suite.features.custom import Transformer
from kfp_suite.features.images import Image
from kfp_suite.features.numeric import (
    Bucketize,
    Cast,
    Clip,
    ConvertUnits,
    Identity,
    Impute,
    Log,
    Log1p,
    Polynomial,
    Scale,
    Sqrt,
)
from kfp_suite.features.operation import Operation
from kfp_suite.features.text import Ngrams, Tokens

OPERATIONS: dict[str, type[Operation]] = {
    operation.op: operation
    for operation in (
        Bucketize,
        Cast,
        Clip,
        ConvertUnits,
        Cross,
        Cyclic,
        DateParts,
        Hash,
        Identity,
        Image,
        Impute,
        Log,
        Log1p,
        Ngrams,
        OneHot,
        Ordinal,
        Polynomial,
        Scale,
        Sqrt,
        Tokens,
        Transformer,
    )
}
