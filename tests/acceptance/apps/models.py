"""Two apps with the same tasks on models and dataclasses: one writes JSON, the other pickles."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from pydantic import BaseModel, Field

from aiotask import App, Task

from ..ledger import entered

P = ParamSpec("P")
R = TypeVar("R")

app = App(os.environ["TEST_APP"])
plain = App(os.environ["TEST_APP"] + "-json", serializer="json")


_plain: dict[str, Task[Any, Any]] = {}


def both(function: Callable[P, R]) -> Callable[P, R]:
    """A task of each app; the module has the one that pickles under its name."""
    _plain[function.__name__] = plain.task(function)
    return app.task(function)  # type: ignore[return-value]


def task_of(name: str, serializer: str) -> Any:
    return _plain[name] if serializer == "json" else globals()[name]


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


class Article(BaseModel):
    name: str
    price: Decimal = Field(ge=0)
    size: Size = Size.SMALL


class Order(BaseModel):
    id: UUID
    at: datetime
    articles: list[Article]
    note: str | None = None


@dataclass
class Receipt:
    order: UUID
    total: Decimal
    ready: datetime
    lines: tuple[str, ...] = ()
    tags: set[str] = field(default_factory=set)


@both
def charge(order: Order, discount: Decimal = Decimal(0), *, tags: set[str] | None = None) -> Receipt:
    with entered("charge"):
        assert type(order) is Order and all(type(article) is Article for article in order.articles)
        assert type(discount) is Decimal
        total = sum((article.price for article in order.articles), Decimal(0)) - discount
        lines = tuple(f"{article.name} ({article.size.name})" for article in order.articles)
        return Receipt(order.id, total, order.at + timedelta(hours=1), lines, tags or set())


@both
async def largest(orders: list[Order]) -> Order | None:
    assert all(type(order) is Order for order in orders)
    return max(orders, key=lambda order: len(order.articles), default=None)


@both
async def renew(receipt: Receipt, by: timedelta) -> Receipt:
    assert type(receipt) is Receipt and type(by) is timedelta
    return Receipt(receipt.order, receipt.total, receipt.ready + by, receipt.lines, receipt.tags)


@both
def article(name: str) -> Article:
    return Article(name=name, price=Decimal("1.50"), size=Size.LARGE)


@both
def untyped(value, times=2):  # type: ignore[no-untyped-def]
    """Without a single annotation."""
    return [value] * times


@both
def wrong() -> Article:
    """Does not return what it says."""
    return "no article"  # type: ignore[return-value]


@both
def nothing() -> None:
    return None


@both
def moment() -> datetime:
    return datetime(2024, 2, 29, 12, tzinfo=UTC)


@both
def refuse(name: str) -> Article:
    raise LookupError(name)
