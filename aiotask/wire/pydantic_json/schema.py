"""Changes to the schemas that pydantic makes of annotations, so that values come back from JSON unchanged.

pydantic keeps a type as a tree of nodes (its core schema). Two kinds of node are replaced here: bytes, which JSON has
no form for, and lazy iterables, which would arrive as an iterator that can be read once.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from enum import Enum
from threading import Lock
from typing import Any

__all__ = [
    "BYTES_MARK",
    "bytes_from_text",
    "bytes_to_text",
    "is_open",
    "named_classes",
    "nodes",
    "rewritten",
    "validator_and_serializer",
]

#: Prefix of the text of bytes that are not UTF-8: a data URL. Other bytes are written as their text, as the previous
#: release writes and reads them.
BYTES_MARK = "data:;base64,"

#: Keys of a node under which there are further nodes.
_BELOW = frozenset({
    "arguments_schema", "choices", "computed_fields", "definitions", "extras_keys_schema", "extras_schema", "fields",
    "items_schema", "json_schema", "keys_schema", "lax_schema", "python_schema", "return_schema", "schema",
    "serialization", "steps", "strict_schema", "values_schema", "var_args_schema", "var_kwargs_schema",
})  # fmt: skip
_MODELS = frozenset({"model", "dataclass"})
#: The key for the items of a container; without it the items may be of any type.
_INNER = {"dict": "values_schema", "list": "items_schema", "set": "items_schema", "frozenset": "items_schema"}
#: Without this setting, NaN becomes None where no annotation says float.
CONFIG = {"ser_json_inf_nan": "constants"}
_building = Lock()


def bytes_to_text(value: Any) -> Any:
    """Bytes as the text that stands for them in JSON; anything else as it is."""
    if not isinstance(value, bytes):
        return value
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return BYTES_MARK + base64.b64encode(value).decode()
    return BYTES_MARK + base64.b64encode(value).decode() if text.startswith(BYTES_MARK) else text


def bytes_from_text(value: Any) -> Any:
    """The bytes that this text stands for; anything else as it is.

    Raises:
        ValueError: the text after the mark is not base64.
    """
    if isinstance(value, str):
        if value.startswith(BYTES_MARK):
            return base64.b64decode(value[len(BYTES_MARK) :], validate=True)
        return value.encode()
    return value


def rewritten(schema: Any) -> Any:
    """The schema with the nodes of bytes and lazy iterables replaced; the same object if it has none."""
    return _rewritten(schema, False, is_open(schema))


def is_open(schema: Any) -> bool:
    """Whether a schema leaves the type of some part of a value open."""
    return any(
        node["type"] == "any"
        or _INNER.get(node["type"], "type") not in node
        or (node.get("config") or {}).get("extra_fields_behavior") == "allow"
        for node in nodes(schema)
    )


def _rewritten(node: Any, own_bytes: bool, opened: bool) -> Any:
    if isinstance(node, list | tuple):
        parts = [_rewritten(part, own_bytes, opened) for part in node]
        return node if all(a is b for a, b in zip(parts, node, strict=True)) else type(node)(parts)
    if not isinstance(node, dict):
        return node
    config = node.get("config")
    if isinstance(config, dict):
        own_bytes = _has_own_bytes(config)
    changed = {key: _rewritten_below(node, key, own_bytes, opened) for key in node if key in _BELOW}
    if opened and isinstance(config, dict) and "ser_json_inf_nan" not in config:
        changed["config"] = {**config, **CONFIG}
    if any(new is not node[key] for key, new in changed.items()):
        node = {**node, **changed}
    if node.get("type") == "bytes" and not own_bytes:
        return _bytes_node(node)
    return _list_node(node) if node.get("type") == "generator" else node


def _rewritten_below(node: dict[str, Any], key: str, own_bytes: bool, opened: bool) -> Any:
    below = node[key]
    if key in ("fields", "choices") and isinstance(below, dict):
        # Nodes by name: the fields of a model, the choices of a tagged union.
        named = {name: _rewritten(part, own_bytes, opened) for name, part in below.items()}
        return below if all(named[name] is below[name] for name in below) else named
    new = _rewritten(below, own_bytes, opened)
    return _distinct_choices(below, new) if key == "choices" and node["type"] == "union" and not own_bytes else new


def _list_node(node: dict[str, Any]) -> dict[str, Any]:
    kept = ("items_schema", "min_length", "max_length", "ref", "metadata")
    return {"type": "list", **{key: node[key] for key in kept if key in node}}


def _has_own_bytes(config: dict[str, Any]) -> bool:
    """Whether a class configures how its bytes are written, and reads them in the same way."""
    written, read = config.get("ser_json_bytes", "utf8"), config.get("val_json_bytes", "utf8")
    return bool(written == read != "utf8")


def _distinct_choices(choices: Any, rewritten_choices: Any) -> Any:
    """The choices of a union; if text is one, bytes are always written with the mark, and text is not read as bytes."""
    kinds = [(choice[0] if isinstance(choice, tuple) else choice).get("type") for choice in choices]
    if "str" not in kinds or "bytes" not in kinds:
        return rewritten_choices
    marked_choices = []
    for kind, choice, new in zip(kinds, choices, rewritten_choices, strict=True):
        if kind == "bytes":
            node = choice[0] if isinstance(choice, tuple) else choice
            marked = _bytes_node(node, _bytes_from_mark, _bytes_to_mark)
            new = (marked, *choice[1:]) if isinstance(choice, tuple) else marked
        marked_choices.append(new)
    return marked_choices


def _bytes_to_mark(value: Any) -> Any:
    return BYTES_MARK + base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _bytes_from_mark(value: Any) -> Any:
    if isinstance(value, str) and not value.startswith(BYTES_MARK):
        raise ValueError("this is text, not bytes")
    return bytes_from_text(value)


def _bytes_node(node: dict[str, Any], read: Any = None, write: Any = None) -> dict[str, Any]:
    inner = {key: value for key, value in node.items() if key not in ("ref", "serialization")}
    outer = {
        "type": "json-or-python",
        "json_schema": {
            "type": "function-before",
            "function": {"type": "no-info", "function": read or bytes_from_text},
            "schema": inner,
        },
        "python_schema": inner,
        "serialization": node.get("serialization")
        or {"type": "function-plain", "function": write or bytes_to_text, "when_used": "json"},
    }
    return {**outer, "ref": node["ref"]} if "ref" in node else outer


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every node of a schema."""
    if isinstance(schema, list | tuple):
        for part in schema:
            yield from nodes(part)
    elif isinstance(schema, dict):
        if isinstance(schema.get("type"), str):
            yield schema
        for key, below in schema.items():
            if key in ("fields", "choices") and isinstance(below, dict):
                yield from nodes(list(below.values()))
            elif key in _BELOW:
                yield from nodes(below)


def named_classes(schema: Any) -> frozenset[type]:
    """The classes that a schema names: models, enums, and the enums of the members in a Literal."""
    classes = set()
    for node in nodes(schema):
        if isinstance(node.get("cls"), type):
            classes.add(node["cls"])
        if node["type"] == "literal":
            classes.update(type(each) for each in node["expected"] if isinstance(each, Enum))
    return frozenset(classes)


def validator_and_serializer(core: Any, schema: Any) -> tuple[Any, Any]:
    """The validator and the serializer of this schema.

    For a class in a schema, pydantic takes the validator and the serializer that the class already has, and ignores
    its nodes. So the classes are marked as incomplete while these two are built.
    """
    classes = {node["cls"] for node in nodes(schema) if node["type"] in _MODELS}
    finished = [each for each in classes if each.__dict__.get("__pydantic_complete__") is True]
    with _building:
        try:
            for each in finished:
                each.__pydantic_complete__ = False
            return core.SchemaValidator(schema), core.SchemaSerializer(schema, CONFIG)
        finally:
            for each in finished:
                each.__pydantic_complete__ = True
