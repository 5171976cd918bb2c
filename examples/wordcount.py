"""Count the words in the sources of Python's standard library: map the files, reduce the counts.

Run its jobs, and send some::

    aiotask worker examples.wordcount --concurrency 2
    python -m examples.wordcount
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from pathlib import Path

from aiotask import App, group

app = App("wordcount")


@app.task(result_ttl=0)
def count(files: list[str]) -> Counter[str]:
    """The words in some files."""
    words: Counter[str] = Counter()
    for file in files:
        words.update(re.findall(r"[a-z]{4,}", Path(file).read_text(encoding="utf-8", errors="replace").lower()))
    return words


@app.task
def merge(counts: list[Counter[str]], most: int = 3) -> list[tuple[str, int]]:
    """The most frequent words of all counts."""
    return sum(counts, Counter[str]()).most_common(most)


def batches(files: list[str], size: int) -> list[list[str]]:
    return [files[n : n + size] for n in range(0, len(files), size)]


async def main() -> None:
    files = sorted(map(str, Path(json.__file__).parent.parent.glob("*.py")))
    for word, number in await group(count.s(some) for some in batches(files, 10)).then(merge).apply_async():
        print(f"{word:10} {number:7,}")


if __name__ == "__main__":
    asyncio.run(main())
