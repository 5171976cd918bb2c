"""Two apps with the same tasks on models and dataclasses: one writes JSON, the other pickles."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from uuid import UUID

from pydantic import BaseModel, Field

from aiotask import App

from ..ledger import entered

app = App(os.environ["TEST_APP"])
plain = App(os.environ["TEST_APP"] + "-json", serializer="json")


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


@app.task
@plain.task
def charge(order: Order, discount: Decimal = Decimal(0), *, tags: set[str] | None = None) -> Receipt:
    with entered("charge"):
        assert type(order) is Order and all(type(article) is Article for article in order.articles)
        assert type(discount) is Decimal
        total = sum((article.price for article in order.articles), Decimal(0)) - discount
        lines = tuple(f"{article.name} ({article.size.name})" for article in order.articles)
        return Receipt(order.id, total, order.at + timedelta(hours=1), lines, tags or set())


@app.task
@plain.task
async def largest(orders: list[Order]) -> Order | None:
    assert all(type(order) is Order for order in orders)
    return max(orders, key=lambda order: len(order.articles), default=None)


@app.task
@plain.task
async def renew(receipt: Receipt, by: timedelta) -> Receipt:
    assert type(receipt) is Receipt and type(by) is timedelta
    return Receipt(receipt.order, receipt.total, receipt.ready + by, receipt.lines, receipt.tags)


@app.task
@plain.task
def article(name: str) -> Article:
    return Article(name=name, price=Decimal("1.50"), size=Size.LARGE)


@app.task
@plain.task
def untyped(value, times=2):  # type: ignore[no-untyped-def]
    """Without a single annotation."""
    return [value] * times


@app.task
@plain.task
def wrong() -> Article:
    """Does not return what it says."""
    return "no article"  # type: ignore[return-value]


@app.task
@plain.task
def nothing() -> None:
    return None


@app.task
@plain.task
def moment() -> datetime:
    return datetime(2024, 2, 29, 12, tzinfo=UTC)


@app.task
@plain.task
def refuse(name: str) -> Article:
    raise LookupError(name)
