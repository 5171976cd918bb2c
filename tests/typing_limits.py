"""Limits as type checkers see them. Checked by mypy and pyright, never run; see ``typing_api.py``."""

from __future__ import annotations

from typing import assert_type

from aiotask import App, AsyncResult, Limit, Retry, SyncTask

app = App("limits")
stripe = Limit("stripe", rate="100/s", burst=20)
tenants = Limit(by="tenant", max_running=50, max_running_each=2, rate_each="10/s", burst_each=20)


def of_tenant(tenant: str, **_: object) -> str:
    return tenant.upper()


named = Limit(by=of_tenant)
Limit(max_running="1")  # type: ignore[arg-type]
Limit(rate=5)  # type: ignore[arg-type]
Limit(most=1)  # type: ignore[call-arg]


@app.task(limit=stripe)
def charge(user_id: int, cents: int) -> str:
    return ""


@app.task(limit=tenants, retries=1)
async def render(tenant: str) -> bytes:
    raise Retry("429", delay=30, limit=True)


@app.task(max_running=1, rate="100/m")
def beat() -> None: ...


app.task(limit="stripe")  # type: ignore[call-overload]
app.task(max_running="1")  # type: ignore[call-overload]
app.task(rate=100)  # type: ignore[call-overload]
charge.options(rate="1/s")  # type: ignore[call-arg]
charge.options(on_conflict="sam")  # type: ignore[arg-type]

assert_type(charge.apply_async(1, 2), AsyncResult[str])
assert_type(render.apply_async("acme"), AsyncResult[bytes])
assert_type(beat, SyncTask[[], None])
assert_type(stripe.name, str)
