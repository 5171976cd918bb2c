"""Send jobs from a script that has no event loop.

Run it::

    aiotask worker examples.words                 # in one terminal
    python -m examples.plain_script README.md     # in another
"""

import sys
from pathlib import Path

from examples.words import top_words


def main() -> None:
    # Send all jobs before waiting for the first one.
    results = {path: top_words.apply_async(Path(path).read_text()) for path in sys.argv[1:]}
    for path, result in results.items():
        print(path, *(f"{word}={count}" for word, count in result.get(timeout=30)))


if __name__ == "__main__":
    main()
