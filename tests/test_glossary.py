"""The glossary is in alphabetical order, has the words that are used, and none that is not used any more."""

from __future__ import annotations

import re

from .workers import ROOT

PAGE = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ENTRIES = [re.findall(r"\*\*([^*]+)\*\*", row.split("|")[1]) for row in PAGE.splitlines() if row.startswith("| **")]
WORDS = {word for entry in ENTRIES for word in entry}
#: Words of earlier texts for what has another name now.
GONE = {"strike", "in service", "travel"}


def test_the_entries_are_in_alphabetical_order() -> None:
    first = [re.sub(r"\W", "", entry[0].lower()) for entry in ENTRIES]

    assert first == sorted(first)


def test_every_status_and_process_has_a_place() -> None:
    assert {"supervisor", "keeper", "worker", "server", "client", "job", "task", "app", "outcome", "queue"} <= WORDS
    assert {"parked", "dead letter", "suspect", "lease", "seal", "drain", "grace", "accepted", "claim"} <= WORDS


def test_no_entry_is_a_word_that_is_not_used_any_more() -> None:
    assert not WORDS & GONE
