"""Another app, whose jobs run in the processes of ``hazards``."""

from __future__ import annotations

import asyncio
import os

from aiotask import App

from ..ledger import entered

app = App(f"{os.environ['TEST_APP']}-neighbour")


@app.task
async def anap(seconds: float, label: str) -> str:
    with entered(label):
        await asyncio.sleep(seconds)
        return label
