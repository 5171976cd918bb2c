"""``aiotask workers`` and what it asks of hosts."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from aiotask.ops.audit import read_audit

from ..acceptance.stage import staged
from ..commands import run_command
from ..hosts.operator import Operated
from ..workers import Workers
from .command import invoke


async def test_hosts_are_drained_resumed_and_recycled(workers: Workers, tmp_path: Path) -> None:
    with staged("hazards", workers, tmp_path / "ledger") as stage:
        operated = Operated(stage)
        supervisor, host = await operated.start(1)
        old = await operated.live(1)
        env = {**os.environ, "AIOTASK_URL": stage.url, "AIOTASK_NAME": stage.app.name}

        async def command(*arguments: str, code: int = 0) -> Any:
            done = await asyncio.to_thread(run_command, "workers", *arguments, env=env, input="")
            assert done.returncode == code, (done.stdout, done.stderr)
            return done

        drained = await command("drain", host[:-2])
        assert drained.stdout == f"• {host}: It takes no new jobs; 0 jobs still run.\n"
        shown = (await command()).stdout
        assert f"Host {host} was drained by " in shown and f"To end that: aiotask workers resume {host}" in shown
        [listed] = json.loads((await command("list", "--json")).stdout)
        assert listed["drained_at"] > 0 and listed["drained_by"]

        checked = await asyncio.to_thread(run_command, "doctor", "--json", env=env)
        about = [each for each in json.loads(checked.stdout)["checks"] if each["name"].endswith(": hosts")]
        assert [each["fix"] for each in about] == [f"To end that: aiotask workers resume {host}"]
        assert about[0]["detail"].endswith("it takes no new jobs.") and about[0]["state"] == "warn"

        refused = await command("resume", "--all", code=2)
        assert "this would resume 1 host, and there is no terminal" in refused.stderr
        [resumed] = json.loads((await command("resume", "--all", "--yes", "--json")).stdout)
        said = "It takes jobs again."
        assert resumed == {"app": stage.app.name, "host": host, "did": "done", "said": said}
        assert (await command("resume", host, code=1)).stdout == f"! {host}: It was not drained.\n"

        await asyncio.to_thread(run_command, "stack", env=env)
        assert [line["verb"] for line in await read_audit(operated.place, 2)] == ["stacks", "resume"]

        await command("recycle", host)
        await operated.live(1, without=old)
        assert "Recycled by" in supervisor.log


async def test_hosts_have_to_be_named(shop: Any) -> None:
    async def command(*arguments: str) -> Any:
        named = ("--name", shop.app.name, "--url", shop.app.url)
        return await asyncio.to_thread(invoke, "workers", *arguments, *named)

    assert "no host was named" in str((await command("drain")).exception)
    assert "--all cannot be combined with hosts" in str((await command("drain", "x", "--all")).exception)
    none = await command("recycle", "--all")
    assert none.exit_code == 0 and "No host is live, so nothing was done." in none.output
    unknown = str((await command("drain", "x")).exception)
    assert 'no live host is called "x"' in unknown and "No host is live." in unknown
