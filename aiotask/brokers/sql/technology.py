"""Rows as a technology: what aiotask asks of a broker before there is one. Rows have no address of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ...errors import ConfigError
from ..technology import PROCESSES, Technology

if TYPE_CHECKING:
    from ...broker import Broker
    from ...inspector import Inspector

__all__ = ["ROWS", "SCHEME"]

#: What the address of a broker of rows begins with. No user writes it.
SCHEME = "rows"
_INSTEAD = "rows have no address of their own: give App(database=…)"


def _refuse(*_: object) -> NoReturn:
    raise ConfigError(_INSTEAD)


def _inspect(broker: Broker) -> Inspector:
    from .inspector import RowInspector

    return RowInspector(broker)


ROWS = Technology(
    connect=_refuse,
    inspect=_inspect,
    namespaces=_refuse,
    push_blocking=_refuse,
    check_url=lambda parts: _INSTEAD,
    is_private=lambda url: True,
    features=frozenset({PROCESSES}),
    examples=(),
)
