"""The task: an async generator. What it yields goes to the reader while it runs."""

import asyncio
import os
from collections.abc import AsyncIterator

from aiotask import App

app = App("tokens")
#: Seconds that the model takes for a word.
PACE = float(os.environ.get("TOKENS_PACE", "0.2"))


@app.task(timeout=300)
async def answer(question: str) -> AsyncIterator[str]:
    """Stands for a language model: its answer comes word by word."""
    for word in f"You have asked: {question} That is a good question.".split():
        await asyncio.sleep(PACE)
        yield f"{word} "
