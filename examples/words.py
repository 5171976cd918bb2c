"""Count words: the app that the other examples use.

Run its jobs::

    aiotask worker examples.words
"""

import re
from collections import Counter

from aiotask import App

app = App("words")


@app.task(retries=2, timeout=30)
def top_words(text: str, count: int = 3) -> list[tuple[str, int]]:
    """Return the most frequent words, each with its number of occurrences."""
    return Counter(re.findall(r"\w+", text.lower())).most_common(count)
