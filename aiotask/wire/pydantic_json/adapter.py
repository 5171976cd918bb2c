"""Writes and reads values of one annotation as JSON, and checks when writing that they are read back unchanged."""

from __future__ import annotations

import functools
import re
import typing
from collections import deque
from collections.abc import Iterator
from typing import Any

import pydantic
import pydantic_core

from .sameness import Comparison, Difference, attribute, field_names, kind_of, same_plain
from .schema import is_open, named_classes, nodes, rewritten, validator_and_serializer

__all__ = ["Adapter", "Misfit", "NotDefinedYet", "adapter_of", "reason_of", "to_json", "where_of"]

_SCALARS: dict[str, type] = {"bool": bool, "float": float, "int": int, "str": str}
#: Types of nodes whose values are plain data, most of which can be compared in C.
_PLAIN = frozenset(_SCALARS) | {"any", "default", "dict", "list", "literal", "none", "nullable", "tuple", "typed-dict"}
_PLAIN |= {"typed-dict-field", "union"}
_EMPTY_FACTORIES = (list, dict, set, frozenset, tuple)


class Misfit(Exception):
    """A value does not come back unchanged by its annotation: where in the value, and what is wrong."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(path, what)
        self.path = path
        self.what = what


class NotDefinedYet(Exception):
    """An annotation contains a name that is not defined yet."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def to_json(value: Any) -> bytes:
    """Plain data as JSON, in which NaN and Infinity are these words."""
    return bytes(pydantic_core.to_json(value, inf_nan_mode="constants"))


class Adapter:
    """The validator and the serializer that pydantic makes of one annotation.

    Raises:
        NotDefinedYet: the annotation, or a class in it, names something that is not defined so far.
        pydantic.errors.PydanticUserError: pydantic has no schema for it.
    """

    def __init__(self, annotation: Any) -> None:
        try:
            adapter = _type_adapter(annotation)
            if not adapter.pydantic_complete:
                adapter.rebuild(force=True, raise_errors=True)
        except pydantic.errors.PydanticUndefinedAnnotation as error:
            raise NotDefinedYet(error.name or str(error)) from error
        except pydantic.errors.PydanticUserError as error:
            if error.code == "class-not-fully-defined":
                raise NotDefinedYet(_first_quoted(str(error))) from error
            raise
        core = adapter.core_schema
        schema = rewritten(core)
        self._validator: Any = adapter.validator
        self._serializer: Any = adapter.serializer
        #: Whether the annotation leaves the type of some part of a value open.
        self.is_open = is_open(core)
        if schema is not core or self.is_open:
            self._validator, self._serializer = validator_and_serializer(pydantic_core, schema)
        kinds = [node["type"] for node in nodes(schema)]
        self._is_plain = _PLAIN.issuperset(kinds)
        self._has_models = "model" in kinds
        #: Classes that the annotation names.
        self.named = named_classes(schema)
        self._sparse_first = True
        self.is_any = schema["type"] == "any"
        bare = set(schema) <= {"type", "metadata"}
        #: Values of exactly this type need no check.
        self.exact: type | None = _SCALARS.get(schema["type"]) if bare else None

    # ---- writing

    def encode(self, value: Any, *, sparse: bool) -> bytes:
        """The JSON that is read as this very value.

        Args:
            value: the value to write.
            sparse: leave out the fields of models that were not set, so that they count as not set where it is read.

        Raises:
            Misfit: the value does not fit the annotation, or would be read as a different one.
        """
        if type(value) is self.exact:
            return self._text(value)
        if sparse and self._has_models:
            if self._sparse_first:
                try:
                    return self._faithful(self._tree(value, exclude_unset=True), value, grown=False)
                except Misfit:
                    pass
            try:
                text = self._faithful(_pruned(value, self._tree(value)), value, grown=True)
                self._sparse_first = False
                return text
            except Misfit:
                pass
        return self._faithful(self._tree(value), value, grown=True)

    def _tree(self, value: Any, *, exclude_unset: bool = False) -> Any:
        """The value as plain data."""
        if self.is_any:
            return value
        try:
            return self._dump(value, exclude_unset=exclude_unset)
        except Exception as error:
            raise self._misfit_of(value, error) from error

    def _dump(self, value: Any, *, exclude_unset: bool = False, warnings: Any = "error") -> Any:
        # Names, not aliases, since names can always be read. round_trip: without computed fields.
        return self._serializer.to_python(
            value, mode="json", by_alias=False, round_trip=True, exclude_unset=exclude_unset, warnings=warnings
        )

    def dump_leniently(self, value: Any, *, sparse: bool) -> Any:
        """The value as plain data, without checks of the types; ``sparse`` as for ``encode``."""
        return self._serializer.to_python(
            value,
            mode="json",
            by_alias=False,
            round_trip=True,
            exclude_unset=sparse and self._has_models,
            warnings=False,
        )

    def _faithful(self, tree: Any, value: Any, *, grown: bool) -> bytes:
        """The JSON of this tree, if it is read as this very value."""
        text = self._text(tree)
        try:
            back = self.decode(text)
        except Exception as error:
            what = f"its JSON does not fit the annotation when it is read back: {reason_of(error)}"
            raise Misfit(where_of(error), f"{_NOT_SERIALIZED}: {what}") from error
        if self._is_plain and same_plain(value, back):
            return text
        comparison = Comparison(lenient=not self.is_open, grown=grown, named=self.named)
        try:
            same = comparison.same(value, back)
        except Exception:  # an error of the user's class, or too deep nesting
            same = comparison.undecided = True
        if same and (not comparison.undecided or self._writes(back, tree)):
            return text
        raise self._change(comparison.difference)

    def _text(self, tree: Any) -> bytes:
        try:
            return to_json(tree)
        except Exception as error:
            raise Misfit("", f"({kind_of(tree)}) {_NOT_SERIALIZED}: {reason_of(error)}") from error

    def _writes(self, back: Any, tree: Any) -> bool:
        """Whether the value that was read is written in the same way again: the test for objects without ``==``."""
        try:
            text = to_json(tree)
            return text in (to_json(self._dump(back)), to_json(self._dump(back, exclude_unset=True)))
        except Exception:
            return False

    def _change(self, found: Difference | None) -> Misfit:
        if found is None:
            return Misfit(
                "", f"{_NOT_SERIALIZED}: the value that would arrive cannot be compared with it. {_TWO_FORMS}"
            )
        if found.kind in ("SecretStr", "SecretBytes"):
            advice = _SECRET
        elif found.is_typed:
            advice = _UNTYPED if self.is_open else _OTHER_TYPE
        else:
            advice = _TWO_FORMS
        return Misfit(found.path, f"({found.kind}) {_NOT_SERIALIZED}: it {found.what}. {advice}")

    def _misfit_of(self, value: Any, error: Exception) -> Misfit:
        """The Misfit of a value: found by writing it without checks, and comparing what would be read."""
        reason = reason_of(error)
        kind = kind_of(value)
        if not reason.endswith(" expected"):
            return Misfit("", f"({kind}) {_NOT_SERIALIZED}: {reason}")
        path = ""
        try:
            back = self.decode(to_json(self._dump(value, warnings=False)))
            comparison = Comparison(lenient=not self.is_open, grown=True, named=self.named)
            if not comparison.same(value, back) and comparison.difference:
                path, kind = comparison.difference.path, comparison.difference.kind
        except Exception as broken:
            path = where_of(broken)
            kind = "" if path else kind
        return Misfit(path, f"{f'({kind}) ' if kind else ''}does not fit its annotation: {reason}")

    # ---- reading

    def decode(self, text: bytes) -> Any:
        """The value that this JSON stands for.

        Raises:
            pydantic.ValidationError: the JSON does not fit the annotation.
        """
        if self.is_any:
            return pydantic_core.from_json(text)
        return self._validator.validate_json(text, by_alias=True, by_name=True)

    def validate(self, tree: Any) -> Any:
        """The value that plain data, in which exceptions may stand, is read as.

        Raises:
            pydantic.ValidationError: the data does not fit the annotation.
        """
        return tree if self.is_any else self._validator.validate_python(tree, by_alias=True, by_name=True)


def _type_adapter(annotation: Any) -> pydantic.TypeAdapter[Any]:
    """pydantic's adapter; where the annotation names exceptions, as for a value that ``.settled`` gives, it takes
    their instances."""
    if not any(map(_is_error, _parts(annotation))):
        return pydantic.TypeAdapter(annotation)
    return pydantic.TypeAdapter(annotation, config={"arbitrary_types_allowed": True})


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in typing.get_args(annotation):
        yield from _parts(part)


def _is_error(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, BaseException)


_NOT_SERIALIZED = "cannot be serialized with json"
_TWO_FORMS = (
    "Its class writes it in one form and reads it in another: check its serializers, validators that change a "
    "value each time, and exclude="
)
_UNTYPED = "JSON has no such type, and no annotation names it here: annotate it, or pass plain JSON data"
_OTHER_TYPE = "Annotate it with the type that is passed, or pass a value of the annotated type"
_SECRET = "A secret is written as asterisks: pass what get_secret_value() returns, or write a serializer for the field"


@functools.lru_cache(maxsize=1024)
def adapter_of(annotation: Any) -> Adapter:
    """The adapter of a class or of ``Any``; made once, since many tasks may use it.

    Not for other annotations: ``int | str`` equals ``str | int``, but is read in another order.
    """
    return Adapter(annotation)


def _pruned(value: Any, tree: Any) -> Any:
    """The tree without unset fields of models that get the same value from a default of the class."""
    kind: Any = type(value)
    names = field_names(kind)
    if names is None:
        for below, branch in _pairs(value, tree):
            _pruned(below, branch)
        return tree
    if not isinstance(tree, dict):
        return tree
    fields = getattr(kind, "__pydantic_fields__", {})
    was_set = attribute(value, "__pydantic_fields_set__") if fields else names
    for name in names:
        if name not in tree:
            continue
        held = attribute(value, name)
        _pruned(held, tree[name])
        if name in fields and isinstance(was_set, set) and name not in was_set and _is_default(fields[name], held):
            del tree[name]
    return tree


def _pairs(value: Any, tree: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict) and isinstance(tree, dict) and len(value) == len(tree):
        yield from zip(value.values(), tree.values(), strict=True)
    elif isinstance(value, list | tuple | deque) and isinstance(tree, list) and len(value) == len(tree):
        yield from zip(value, tree, strict=True)


def _is_default(field: Any, value: Any) -> bool:
    """Whether a field that is left out gets this value from its default; the tag of a union is never left out."""
    if typing.get_origin(field.annotation) is typing.Literal:
        return False
    factory = field.default_factory
    if factory is not None:
        return factory in _EMPTY_FACTORIES and type(value) is factory and not value
    if value is field.default:
        return True
    comparison = Comparison()
    return comparison.same(value, field.default) and not comparison.undecided


# ---- what errors say


def reason_of(error: Exception) -> str:
    """The reason that a pydantic error gives, in one line without a full stop; else the text of the error."""
    try:
        if isinstance(error, pydantic_core.ValidationError):
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            return str(first["msg"]).rstrip(".")
        text = str(error)
    except Exception:
        return type(error).__name__
    expected = re.search(r"Expected (.+?) - serialized", text)
    return f"{expected[1]} expected" if expected else re.split(r"\n|\. Set `arb", text.strip())[0].rstrip(".")


def where_of(error: Exception) -> str:
    """The place that a validation error names, for example ``.items[2].price``."""
    if not isinstance(error, pydantic_core.ValidationError):
        return ""
    steps = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
    return "".join(
        f".{step}" if isinstance(step, str) and step.isidentifier() else f"[{step!r}]"
        for step in steps
        if step != "[key]"
    )


def _first_quoted(text: str) -> str:
    found = re.search(r"should define `([^`]+)`", text)
    return found[1] if found else text.partition("\n")[0]
