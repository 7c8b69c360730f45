"""Which cached values are still good: numbers that the runner changes when it is told to forget some.

They are in a file that all workers of a runner have mapped, so that looking takes no call.
"""

from __future__ import annotations

import mmap
import zlib
from typing import Final, NamedTuple

# The first number is about all values.
ALL: Final = 0


class Seen(NamedTuple):
    """What the stamps of a value were, and how often its function had been cleared here."""

    all: int
    function: int
    key: int
    clears: int


class Stamps:
    """The numbers, as they are at the moment of looking (see `ClearValues` in calls.proto)."""

    def __init__(self, path: str) -> None:
        """Map the file. Raises `OSError` or `ValueError` when it is none of this kind."""
        with open(path, "rb") as file:
            # Kept open by its views.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        # They are only compared: the machine's byte order will do.
        self.numbers: Final = memoryview(mapped).cast("Q")
        if len(self.numbers) < 2:
            raise ValueError(f"{path} has no stamps")

    def place(self, name: str) -> int:
        """Where the stamp is of a function, by its id, or of a call, by `id/key`."""
        return 1 + zlib.crc32(name.encode()) % (len(self.numbers) - 1)
