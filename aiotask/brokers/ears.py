"""Who listens to the memory broker."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ..broker import Notice
from .bell import Ear

__all__ = ["Ears"]


class Ears:
    """Listeners by the address at which they are told."""

    def __init__(self) -> None:
        super().__init__()
        self.ears: defaultdict[str, set[Ear]] = defaultdict(set)

    def tell(self, addresses: Iterable[str], notice: Notice) -> None:
        for address in addresses:
            for ear in [ear for ear in self.ears.get(address, ()) if not ear.tell(notice)]:
                self.hang_up(address, ear)

    def hang_up(self, address: str, ear: Ear) -> None:
        """Stop telling a listener."""
        self.ears[address].discard(ear)
        if not self.ears[address]:
            del self.ears[address]
