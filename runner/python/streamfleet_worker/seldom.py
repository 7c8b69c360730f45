"""Warnings that would else come as often as what they warn of."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import logging

# Between two of the same, in seconds.
_PAUSE: Final = 60.0


class Seldom:
    """One warning, logged at most once a minute."""

    def __init__(self, logger: logging.Logger, message: str) -> None:
        """Log `message`, with what it is completed by each time."""
        self._logger = logger
        self._message = message
        self._next = 0.0

    def warn(self, *args: object) -> None:
        """There is cause for it."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _PAUSE
            self._logger.warning(self._message, *args)
        else:
            self._logger.debug(self._message, *args)
