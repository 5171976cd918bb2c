"""Pauses, as the memory broker keeps them."""

from __future__ import annotations

from collections.abc import Iterable

from ...job import PAUSED_NEED, is_paused_need
from ..lanes import all_lanes, is_parked, need_of, queue_of
from ..pauses import Pause, Standing
from .record import Lane

__all__ = ["Pausing", "pause_in"]


class Pausing:
    """The part of ``Store`` that keeps pauses."""

    lanes: dict[str, Lane]

    def __init__(self) -> None:
        super().__init__()
        self.paused: dict[str, Pause] = {}
        #: How often pauses have changed.
        self.pauses_changed = 0
        #: How often pauses had changed when a live incarnation was told of those that it obeys.
        self.obeyed: dict[str, int] = {}

    def is_paused(self, queue: str) -> bool:
        return "all" in self.paused or f"queue:{queue}" in self.paused

    def is_over(self, need: str) -> bool:
        """Whether this is the need of a pause that is over."""
        return is_paused_need(need) and pause_in(need) not in self.paused

    def open_lanes(self, order: Iterable[str]) -> list[str]:
        """Those of the lanes from which jobs may be claimed."""
        if "all" in self.paused:
            return []
        return [lane for lane in order if is_parked(lane) or not self.is_paused(queue_of(lane))]

    def waiting_lanes(self, queue: str) -> list[str]:
        """The lanes in which the jobs of a queue wait: its own, and those of its jobs whose task is paused."""
        return all_lanes(queue) + [
            name for name in self.lanes if is_paused_need(need := need_of(name)) and need.rpartition("@")[2] == queue
        ]

    def standing(self) -> Standing:
        parked = (
            need_of(name) for name, lane in self.lanes.items() if is_parked(name) and (lane.waiting or lane.claimed)
        )
        resumed = filter(self.is_over, parked)
        pauses = sorted(self.paused.values(), key=lambda pause: (pause.at, pause.id))
        return Standing(pauses, sorted(resumed), changes=self.pauses_changed)


def pause_in(need: str) -> str:
    """The id of the pause for which jobs with this need are parked; empty: they wait for something else."""
    return need.removeprefix(PAUSED_NEED).rpartition("@")[0] if is_paused_need(need) else ""
