"""The app of the next examples: counts words.

Run its jobs::

    aiotask worker examples.words
"""

import re
from collections import Counter

from aiotask import App

app = App("words")


@app.task(retries=2, timeout=30)
def top_words(text: str, count: int = 3) -> list[tuple[str, int]]:
    """The most frequent words, each with how often it occurs."""
    return Counter(re.findall(r"\w+", text.lower())).most_common(count)
