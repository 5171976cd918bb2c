"""What each thread is doing is asked without a collection of garbage, which might stop the process for ever."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator

import pytest

from aiotask.loops.frames import current_frames


@pytest.fixture
def eager() -> Iterator[None]:
    """Garbage is collected at almost every allocation."""
    before = gc.get_threshold()
    gc.set_threshold(1)
    yield
    gc.set_threshold(*before)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="collects garbage between two steps of a program only")
def test_no_garbage_is_collected_meanwhile(eager: None) -> None:
    places: list[str] = []

    def note(phase: str, facts: dict[str, int]) -> None:
        places.append(sys._getframe(1).f_code.co_name)

    gc.callbacks.append(note)
    try:
        for _ in range(200):
            current_frames()
    finally:
        gc.callbacks.remove(note)

    assert "current_frames" not in places


@pytest.mark.parametrize("was_enabled", [True, False])
def test_collections_go_on_as_before(was_enabled: bool) -> None:
    (gc.enable if was_enabled else gc.disable)()
    try:
        assert threading.get_ident() in current_frames()
        assert gc.isenabled() is was_enabled
    finally:
        gc.enable()
