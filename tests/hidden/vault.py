"""An app whose calls carry what nobody should read."""

from __future__ import annotations

import os

from aiotask import App

app = App(os.environ.get("TEST_APP", "vault"), hide="Iban")


@app.task(name="vault:sign_in", aliases=("vault:log_in",))
async def sign_in(user: str, password: str, *access_tokens: str, iban: str = "") -> dict[str, str]:
    return {"user": user, "session_secret": f"{password}-{iban}"}


@app.task(name="vault:fail", retries=1, backoff=lambda failures: 0.01)
async def fail(order: dict[str, str]) -> None:
    raise ValueError("no")
