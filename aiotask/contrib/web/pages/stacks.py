"""Where the processes of all hosts stand now, or the one that runs a job."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from ....errors import ResultExpired
from ....ops.ask import Answers, choose_processes
from ..view import View
from .job import job_shown
from .shown import Shown

__all__ = ["stacks_page"]


async def stacks_page(view: View, answers: Answers, job: str) -> Response:
    """The stacks that hosts have answered with; of a job that runs, on its page."""
    silent = sorted(host for host, answer in answers.items() if answer is None)
    shown = {
        host: choose_processes(answer, job or None) for host, answer in sorted(answers.items()) if answer is not None
    }
    shown = {host: answer for host, answer in shown.items() if answer["processes"] or not job}
    data: dict[str, Any] = {"hosts": shown, "silent": silent, "asked_for": job}
    if job:
        try:
            return await view.site.show(view, await job_shown(view, job, stacks=data))
        except ResultExpired:
            pass
    return await view.site.show(view, Shown("stacks.html", {"title": "Stacks", "stacks": data}))
