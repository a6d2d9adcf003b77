"""The processes that train together, as a solver sees them."""

from typing import Any, Protocol


class Ranks(Protocol):
    """Several processes, each with batches of its own; the first one writes the log and the snapshots."""

    @property
    def rank(self) -> int: ...

    @property
    def world(self) -> int:
        """How many there are."""
        ...

    @property
    def alone(self) -> bool:
        """Whether this is the only one."""
        ...

    def agree(self, *numbers: int) -> list[int]:
        """The largest of each number over all ranks: a signal that one of them got is everybody's."""
        ...

    def gather(self, states: Any) -> list[Any]:
        """What each rank gave, by rank, on the first; nothing on the others."""
        ...


class Alone:
    """A process that trains by itself, for a framework that knows no others."""

    rank, world, alone = 0, 1, True

    def agree(self, *numbers: int) -> list[int]:
        return list(numbers)

    def gather(self, states: Any) -> list[Any]:
        return [states]
