"""An order in three steps. When one of them fails for good, what was reserved is given back.

Run its jobs, and send some::

    aiotask worker examples.order --concurrency 2
    python -m examples.order
"""

from __future__ import annotations

import asyncio

from aiotask import App, Signature, chain
from aiotask.errors import DependencyFailed

app = App("order")


@app.task
def reserve(article: str) -> str:
    return f"{article} reserved"


@app.task(retries=2, backoff=lambda failures: 0.05)
def charge(reservation: str) -> str:
    if "gold" in reservation:
        raise ValueError("the card was declined")
    return f"{reservation}, paid"


@app.task
def ship(payment: str) -> str:
    return f"{payment}, shipped"


@app.task
def give_back(error: Exception, article: str) -> None:
    """Runs once, when no step of the order can run any more."""
    cause = error.__cause__ or error
    print(f"{article} is given back: {cause}")


def order(article: str) -> Signature[str]:
    return chain(reserve.s(article), charge, ship).on_error(give_back, article)


async def main() -> None:
    print(await order("a kettle").apply_async())
    try:
        await order("a gold watch").apply_async()
    except DependencyFailed as error:
        print(f"{error.task} failed: {error.__cause__}")


if __name__ == "__main__":
    asyncio.run(main())
