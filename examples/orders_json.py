"""Send arguments and results as validated JSON: nothing is pickled, and reading a message never runs code.

Run it::

    aiotask worker examples.orders_json      # in one terminal
    python -m examples.orders_json           # in another
"""

import asyncio
from datetime import date, timedelta
from decimal import Decimal

from pydantic import BaseModel, PositiveInt

from aiotask import App

app = App("orders", serializer="json")


class Line(BaseModel):
    article: str
    count: PositiveInt
    price: Decimal


class Order(BaseModel):
    customer: str
    lines: list[Line]
    placed: date


class Invoice(BaseModel):
    customer: str
    total: Decimal
    due: date


@app.task
def invoice(order: Order, days: int = 14) -> Invoice:
    """The task receives ``order`` as an Order, and the caller receives an Invoice."""
    total = sum((line.count * line.price for line in order.lines), Decimal())
    return Invoice(customer=order.customer, total=total, due=order.placed + timedelta(days))


async def main() -> None:
    order = Order(
        customer="Ada",
        lines=[
            Line(article="leek", count=3, price=Decimal("1.25")),
            Line(article="salt", count=1, price=Decimal("0.5")),
        ],
        placed=date(2026, 1, 30),
    )
    bill = await invoice.apply_async(order)
    print(f"{bill.customer} owes {bill.total}, due on {bill.due}")


if __name__ == "__main__":
    asyncio.run(main())
