"""Mails of many tenants: two of each at once, fifty a second in all, and a pause where a server has enough.

Run its jobs, and send some::

    aiotask worker examples.tenants --concurrency 2
    python -m examples.tenants

Meanwhile, ``aiotask limits show mail`` says who is in, and who waits.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from aiotask import App, Limit, Retry, current_job, gather

app = App("tenants")


def is_too_much(tenant: str) -> bool:
    """Whether the mail server of a tenant refuses: here that of one, at the first attempt."""
    return tenant == "busy" and current_job().attempt == 1


@app.task(limit=Limit("mail", by="tenant", max_running_each=2, rate="50/s"), retries=3)
async def send(tenant: str, to: str) -> str:
    """A mail of a tenant: two of each tenant at once, 50 a second in all."""
    if is_too_much(tenant):
        raise Retry("429 Too Many Requests", delay=0.2, limit=True)  # no mail of this tenant for 0.2 s
    return f"{tenant} -> {to}"


async def main() -> None:
    # One tenant has twenty mails. The others, who come later, do not wait for all of them.
    mails = [("large", f"reader{n}") for n in range(20)]
    mails += [(tenant, f"reader{n}") for tenant in ("busy", "small") for n in range(2)]
    sent = await gather([send.apply_async(*mail) for mail in mails])
    print(Counter(line.partition(" ")[0] for line in sent))


if __name__ == "__main__":
    asyncio.run(main())
