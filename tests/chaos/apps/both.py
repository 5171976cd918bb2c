"""The app of trials of tasks and rows: its database is ``CHAOS_DATABASE``."""

from __future__ import annotations

import os

from ..app import app as app
from ..app import nap as nap
from ..app import noop as noop
from ..app import spin as spin
from ..app import sync_noop as sync_noop
from .work import Async as Async
from .work import Left as Left
from .work import Plain as Plain
from .work import serve

app.database.replace(os.environ["CHAOS_DATABASE"])
serve(app)


@app.task(queue="aside")
async def aside() -> None:
    """Has workers serve a second queue, to which jobs are moved."""
