"""The app whose messages were recorded, as it was then."""

from __future__ import annotations

from typing import Any

from aiotask import App, exponential

app = App("recorded", url="memory://", secret="recorded")


class ShopError(Exception):
    """With two arguments, and an attribute that its constructor does not take."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code


@app.task
async def add(x: int, y: int = 2) -> int:
    return x + y


@app.task(queue="mail", retries=3, timeout=5.0, priority=1, backoff=exponential(base=0.1))
def send_mail(to: str, *, body: dict[str, Any]) -> str:
    return f"{to}: {body}"


@app.task
async def call(what: Any) -> Any:
    return what


@app.task
async def fail(how: str) -> None:
    if how == "plain":
        raise ShopError(7, "seven")
    if how == "group":
        raise ExceptionGroup("both", [ShopError(1, "one"), KeyError("k")])
    try:
        raise ShopError(2, "two")
    except ShopError as error:
        raise ValueError("after it") from error
