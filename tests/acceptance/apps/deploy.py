"""An app before and after a deploy: the second release has one task more."""

from __future__ import annotations

import os

from aiotask import App

from ..ledger import entered

app = App(os.environ["TEST_APP"])


@app.task
def charge(amount: int) -> int:
    return amount


if os.environ.get("TEST_RELEASE", "2") == "2":

    @app.task
    def refund(amount: int) -> int:
        with entered("refund"):
            return -amount

    @app.task(retries=2)
    async def refund_async(amount: int) -> int:
        with entered("refund_async"):
            return -amount
