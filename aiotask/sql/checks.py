"""What a class must be to become a row class: every refusal names the fix."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm import Mapper

from ..depends import Overrides, injection_of
from ..errors import ConfigError
from ..tasks.options import OPTIONS, TaskOptions, check_name, check_options, check_task_name, meant
from .rowjob import COLUMNS, OURS

__all__ = ["RowOptions", "check_class", "check_row_options", "kind_of"]

#: The options of ``@app.row``.
RowOptions = ("queue", "name", "retries", "retry_on", "backoff", "timeout", "delete_when_done", "notify")
#: Options of tasks that rows have in another form, or not at all.
_INSTEAD = {
    "priority": "Each row has a column priority.",
    "delay": "Each row has a column due_at.",
    "eta": "Each row has a column due_at.",
    "id": "The id of a row is its primary key.",
    "key": "A UNIQUE constraint on a column of the table keeps equal rows out.",
    "unique": "A UNIQUE constraint on a column of the table keeps equal rows out.",
    "result_ttl": "Rows stay until they are deleted, or with delete_when_done=True until they have succeeded.",
    "ignore_result": "The columns of a row are its result.",
}
_TASK_ONLY = ("limit", "max_running", "rate", "cron", "every", "batch", "batch_wait", "max_wait", "on_conflict")


def check_row_options(options: Mapping[str, Any], whose: str) -> dict[str, Any]:
    """The options of ``@app.row`` with their values checked.

    Raises:
        ConfigError: an option does not exist, is one that rows lack, or its value is out of range.
    """
    for option in options:
        if option not in RowOptions:
            raise ConfigError(_no_option(option, whose))
    own = {name: value for name, value in options.items() if name in OPTIONS}
    checked = check_options(own, whose)
    for name in ("delete_when_done", "notify"):
        if not isinstance(options.get(name, False), bool):
            raise ConfigError(f'Row "{whose}": {name}={options[name]!r}: give True or False.')
    if options.get("name") is not None:
        check_task_name(options["name"])
    return checked


def _no_option(option: str, whose: str) -> str:
    if option in TaskOptions.__annotations__ or option in _INSTEAD or option in _TASK_ONLY:
        instead = _INSTEAD.get(option) or "Let the row send a task that has it."
        return f'Row "{whose}": rows have no option "{option}". {instead}'
    return f'Unknown option "{option}" for row "{whose}". {meant(option, RowOptions)}'


def check_class(model: Any) -> Mapper[Any]:
    """The mapper of a class that can be a row class.

    Raises:
        ConfigError: the class is not mapped, lacks RowJob, or cannot be a job.
    """
    if not isinstance(model, type):
        raise ConfigError(f"@app.row goes on a mapped class of SQLAlchemy, and {model!r} is no class.")
    what = model.__qualname__
    try:
        mapper: Any = sa.inspect(model)
    except NoInspectionAvailable:
        raise ConfigError(
            f"Class {what} is not mapped. Derive it from RowJob and your declarative base, as in "
            f"`class {what}(RowJob, Base)`, and give it a __tablename__."
        ) from None
    _check_columns(mapper, what)
    _check_table(mapper, what)
    _check_run(model, what)
    return mapper  # type: ignore[no-any-return]


def _check_columns(mapper: Mapper[Any], what: str) -> None:
    found = {name: mapper.columns.get(name) for name in COLUMNS}
    if not any(column is not None and _is_ours(column) for column in found.values()):
        raise ConfigError(
            f"Class {what} has no columns of a job. Derive it from aiotask.sql.RowJob, first of its bases "
            f"(RowData where the base is a MappedAsDataclass): class {what}(RowJob, Base)."
        )
    for name, column in found.items():
        if column is None or not _is_ours(column):
            raise ConfigError(_clash(what, f"attribute {name}"))
    for other in mapper.columns:
        if other.name in COLUMNS.values() and not _is_ours(other):
            raise ConfigError(_clash(what, f'column "{other.name}"'))
    for name in ("run", "error"):
        if mapper.has_property(name):
            raise ConfigError(
                f"Class {what}: its attribute {name} is mapped, and RowJob needs the method {name}. Rename the "
                f'attribute; the column may keep its name: other: Mapped[…] = mapped_column("other_{name}").'
            )


def _is_ours(column: Any) -> bool:
    return bool(OURS.items() <= column.info.items())


def _clash(what: str, which: str) -> str:
    return (
        f"Class {what}: its {which} clashes with the one that RowJob adds. Rename yours. RowJob adds "
        f"{', '.join(COLUMNS.values())}."
    )


def _check_table(mapper: Mapper[Any], what: str) -> None:
    if mapper.inherits is not None or mapper.polymorphic_on is not None:
        raise ConfigError(
            f"Class {what} inherits from another mapped class, or others from it. A row class has one table for "
            "itself: make the base a mixin, or __abstract__ = True."
        )
    if not isinstance(mapper.local_table, sa.Table):
        raise ConfigError(f"Class {what} is not mapped to a table of its own, but to a query.")
    keys = mapper.primary_key
    if len(keys) != 1:
        raise ConfigError(
            f"Class {what} has a primary key of {len(keys)} columns ({', '.join(key.name for key in keys)}). A row "
            "class needs a key of one column: add one, and keep the others unique with a UniqueConstraint."
        )
    kind_of(keys[0], what)


def kind_of(key: sa.ColumnElement[Any], what: str) -> str:
    """The kind of a primary key, as ``TableFacts.kind`` has it.

    Raises:
        ConfigError: the key is no integer, text or UUID.
    """
    type_ = key.type
    if isinstance(type_, sa.Integer):
        return "int"
    if isinstance(type_, sa.Uuid):
        return f"uuid{'' if type_.native_uuid else ':char'}{'' if type_.as_uuid else ':str'}"
    if isinstance(type_, sa.String) and not isinstance(type_, sa.Enum):
        return "text"
    name = getattr(key, "name", key)
    raise ConfigError(
        f"Class {what}: its key {name} is of type {type_!r}. The key of a row class is an integer, text or a UUID "
        "(sqlalchemy.Uuid)."
    )


def _check_run(model: type[Any], what: str) -> None:
    run = getattr(model, "run", None)
    if not inspect.isfunction(run):
        raise ConfigError(f"Class {what} has no method run. Give it one: `def run(self) -> None` or `async def run`.")
    if inspect.isgeneratorfunction(run) or inspect.isasyncgenfunction(run):
        raise ConfigError(f"Class {what}: its run is a generator, which nothing would iterate. Use a plain method.")
    if injection_of(run, f"{what}.run", Overrides()) is not None:
        raise ConfigError(f"Class {what}: Depends is for tasks. In run, use the row's own session, or send a task.")
    needed = [
        each.name
        for each in list(inspect.signature(run).parameters.values())[1:]
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if needed:
        raise ConfigError(
            f"Class {what}: its run takes {', '.join(needed)}, but a row is run without arguments: make them columns."
        )
    if inspect.iscoroutinefunction(model.error):
        raise ConfigError(f"Class {what}: its error is `async def`. Make it a plain method.")


def queue_of(name: str) -> str:
    """The queue of a table: its name, as far as a queue may be named so."""
    allowed = "".join(char if char.isascii() and (char.isalnum() or char in "_.-") else "_" for char in name)
    return check_name(allowed[:100], "a queue")
