"""YAML without surprises: the values of JSON, and text for all else.

PyYAML reads YAML 1.1, where 012 is ten, `no` is false, 1:30 is ninety, 1e-3 is text, and of
a repeated key the last value counts, silently. Here a scalar is null, true, false or a decimal
number, and any other is text as it stands.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

MAX_MERGED_KEYS = 100_000
"""Of a mapping with `<<`: aliases of aliases grow without bound."""
_TAG = "tag:yaml.org,2002:"
_INTEGER = r"[-+]?(?:0|[1-9][0-9]*)"
_EXPONENT = r"[eE][-+]?[0-9]+"
_SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (_INTEGER, list("-+0123456789")),
    "float": (
        rf"(?:{_INTEGER}\.[0-9]*|[-+]?\.[0-9]+)(?:{_EXPONENT})?|{_INTEGER}{_EXPONENT}"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    "merge": ("<<", ["<"]),
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own attribute
    yaml_constructors: ClassVar[dict[str | None, Any]] = {}

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        """A mapping whose keys are text, each there once."""
        node = super().compose_mapping_node(anchor)
        assert isinstance(node, MappingNode)
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == f"{_TAG}merge":
                continue
            if key.tag != f"{_TAG}str":
                raise _make_error(key, "a key that is not text; put it in quotes")
            if key.value in seen:
                raise _make_error(key, f"the key '{key.value}' is there twice")
            seen.add(key.value)
        return node

    def flatten_mapping(self, node: MappingNode) -> None:
        """Put what `<<` names in its place."""
        super().flatten_mapping(node)
        if len(node.value) > MAX_MERGED_KEYS:
            raise _make_error(node, f"more than {MAX_MERGED_KEYS} keys in one mapping")

    def construct_number(self, node: ScalarNode) -> int | float:
        """A decimal number, with or without a tag."""
        text = str(self.construct_scalar(node))
        kind = node.tag.removeprefix(_TAG)
        if not re.fullmatch(_SCALARS[kind][0], text):
            raise _make_error(node, f"'{text}' is not a decimal number")
        try:
            return int(text) if kind == "int" else float(re.sub(r"\.(?=[a-zA-Z])", "", text))
        except ValueError:  # Python converts no more than 4,300 digits
            raise _make_error(node, "a number of too many digits") from None

    def construct_flag(self, node: ScalarNode) -> bool:
        """True or false, with or without a tag."""
        text = str(self.construct_scalar(node)).lower()
        if text not in ("true", "false"):
            raise _make_error(node, f"'{text}' is not true or false")
        return text == "true"


def _make_error(node: Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


for _kind, (_pattern, _beginnings) in _SCALARS.items():
    _Loader.add_implicit_resolver(
        f"{_TAG}{_kind}", re.compile(rf"(?:{_pattern})\Z"), list(_beginnings)
    )
for _kind, _construct in {
    "null": yaml.SafeLoader.construct_yaml_null,
    "bool": _Loader.construct_flag,
    "int": _Loader.construct_number,
    "float": _Loader.construct_number,
    "str": yaml.SafeLoader.construct_yaml_str,
    "seq": yaml.SafeLoader.construct_yaml_seq,
    "map": yaml.SafeLoader.construct_yaml_map,
}.items():
    _Loader.yaml_constructors[f"{_TAG}{_kind}"] = _construct
_Loader.yaml_constructors[None] = yaml.SafeLoader.construct_undefined


def read_yaml(content: str | bytes) -> Any:
    """The one document of a YAML text: mappings with text keys, lists, text, numbers, true,
    false and null.

    Raises:
        ValueError: it is not that; with the line.
    """
    try:
        return yaml.load(content, Loader=_Loader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        said = error.problem or error.context or "not YAML"
        raise ValueError(f"{line}{said}") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError:
        raise ValueError("nested too deeply") from None
