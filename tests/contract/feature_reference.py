"""`docs/features.md`: every operation of a feature spec, made from its class.

`python -m tests.contract.feature_reference` (make readmes) writes it; tests hold it fresh
and run each example.
"""

from __future__ import annotations

import inspect
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from kfp_suite.features.operation import Operation
from kfp_suite.features.operations import OPERATIONS
from kfp_suite.features.spec import parameter_keys
from tests.contract.component_readmes import COMPONENTS

REFERENCE = COMPONENTS.parent / "docs" / "features.md"

EXAMPLES: dict[str, dict[str, Any]] = {
    "bucketize": {"column": "age", "op": "bucketize", "quantiles": 4, "output": "one_hot"},
    "cast": {"column": "zone", "steps": [{"op": "cast", "to": "category"}, "one_hot"]},
    "clip": {"column": "age", "op": "clip", "quantiles": [0.01, 0.99]},
    "convert_units": {"column": "temp", "op": "convert_units", "from": "degF", "to": "degC"},
    "cross": {"columns": ["cut", "color"], "op": "cross", "buckets": 64, "name": "cut_and_color"},
    "cyclic": {"column": "at", "op": "cyclic", "parts": ["hour", "weekday"]},
    "date_parts": {"column": "at", "op": "date_parts", "parts": ["month", "day"]},
    "hash": {"column": "cut", "op": "hash", "buckets": 64, "missing": "bucket"},
    "identity": {"column": "age", "op": "identity"},
    "image": {"column": "picture", "op": "image", "height": 28, "width": 28},
    "impute": {"column": "age", "steps": [{"op": "impute", "with": "median"}, "scale"]},
    "log": {"column": "age", "op": "log"},
    "log1p": {"column": "age", "op": "log1p"},
    "ngrams": {"column": "comment", "op": "ngrams", "n": [1, 2], "buckets": 1024},
    "one_hot": {"column": "cut", "op": "one_hot", "max_categories": 16, "oov": 1},
    "ordinal": {"column": "cut", "op": "ordinal"},
    "polynomial": {"columns": ["age", "temp"], "op": "polynomial", "degree": 2},
    "scale": {"column": "age", "op": "scale", "to": "robust"},
    "sqrt": {"column": "age", "op": "sqrt"},
    "tokens": {"column": "comment", "op": "tokens", "length": 32},
    "transformer": {
        "columns": ["age", "temp"],
        "transformer": "sklearn.preprocessing.QuantileTransformer",
        "parameters": {"n_quantiles": 4},
    },
}

_KINDS = {
    "number": "numbers",
    "index": "whole numbers",
    "category": "texts and other categories",
    "time": "dates and timestamps",
}
_INTRODUCTION = """\
# Features

The operations of a feature spec: `features` of the pipelines, and of
[transform](../components/transform/README.md). A spec is a list of entries:

```yaml
features:
  features:
    - {column: distance, steps: [{op: impute, with: median}, log1p, scale]}
    - {columns: [temp, visib], op: impute, with: mean}
    - {column: carrier, op: one_hot, max_categories: 16, oov: 1}
    - {columns: [origin, dest], op: cross, buckets: 256, name: route}
    - month
  others: auto
  exclude: [flight_id]
```

| key of the spec | what it is |
|---|---|
| `features` | The entries, in the order of the columns of the matrix. |
| `others` | `auto`: default features for the columns that no entry names; `drop` (the default): \
none. |
| `exclude` | Columns that no feature may read. |

| key of an entry | what it is |
|---|---|
| `column`, `columns` | What it reads. Of several columns each is treated alike, except by \
`cross`, `polynomial` and `transformer`, which take them together. |
| `steps` | What is done, in order: operations with their keys, or the name alone of one without \
keys. A single operation may stand beside the column, without `steps`. |
| `name` | What the outputs are called after, in place of the column; of an entry of one column, \
or of a cross. |
| `keep_missing` | `true`: missing values go through as NaN, for an estimator that takes them. \
Else a missing value that no step handles is refused. |

A value that is missing is refused unless a step handles it: impute numbers, or set `missing`
where an operation has it. Integers are numbers until an operation needs categories.

Written by `make readmes`; do not edit.
"""


def feature_reference() -> str:
    """The page, in Markdown."""
    listed = [
        f"| [{name}](#{name}) | {_sentence(operation)} |" for name, operation in OPERATIONS.items()
    ]
    table = ["| operation | what it does |", "|---|---|", *listed]
    sections = [_section(name, operation) for name, operation in OPERATIONS.items()]
    return "\n".join([_INTRODUCTION, *table, "", "\n\n".join(sections), ""])


def _section(name: str, operation: type[Operation]) -> str:
    keys = parameter_keys(operation)
    hints = get_type_hints(operation)
    known = {field.name: field for field in fields(operation)}
    rows = [
        f"| `{key}` | {_kind(hints[attribute])} | {_default(known[attribute])} |"
        for key, attribute in keys.items()
    ]
    takes = " or ".join(dict.fromkeys(_KINDS[kind.value] for kind in operation.takes))
    example = yaml.safe_dump(EXAMPLES[name], default_flow_style=True, sort_keys=False, width=1000)
    together = ", all columns together" if operation.joint else ""
    return "\n".join(
        [
            f"## {name}",
            "",
            inspect.getdoc(operation) or "",
            "",
            f"Takes {takes}{together}.",
            "",
            *(["| key | type | default |", "|---|---|---|", *rows, ""] if rows else []),
            "```yaml",
            f"- {example.strip()}",
            "```",
        ]
    )


def _sentence(operation: type[Operation]) -> str:
    text = " ".join((inspect.getdoc(operation) or "").split("\n\n")[0].split())
    return text.split(". ")[0].rstrip(".:") + "."


def _kind(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin is tuple:
        inner = dict.fromkeys(
            _kind(item) + ("" if get_origin(item) else "s")
            for item in arguments
            if item is not Ellipsis
        )
        size = "" if Ellipsis in arguments else f"{len(arguments)} "
        return f"a list of {size}{' and '.join(inner)}"
    if origin is dict:
        return "a mapping"
    if origin is Union or type(hint).__name__ == "UnionType":
        return " or ".join(_kind(item) for item in arguments if item is not type(None))
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names[hint]


def _default(field: Field[Any]) -> str:
    if field.default is MISSING:
        return "required" if field.default_factory is MISSING else "`{}`"
    if field.default is None:
        return "none"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return (
        f"`{yaml.safe_dump(value, default_flow_style=True).removesuffix('...' + chr(10)).strip()}`"
    )


if __name__ == "__main__":
    Path(REFERENCE).write_text(feature_reference())
