"""What the app prints, taken to the runner line by line instead of into this process's own output.

Only what goes through `sys.stdout` and `sys.stderr`, as also the logs of Streamlit and of the
worker do; what is written to their descriptors or their `buffer` stays where it was. A line is of
the thread that has begun it, and whoever prints never waits: what is too much is left out.
"""

from __future__ import annotations

import collections
import contextlib
import io
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from streamfleet_worker.control import Control
    from streamfleet_worker.wire import Wire

# Of a line in characters, and how many a second, of all sessions together.
_MAX_LINE: Final = 8192
_MAX_RATE: Final = 1000
# Lines that may wait to be sent, and what may be unsent besides, in bytes.
_MAX_WAITING: Final = 10_000
_MAX_UNSENT: Final = 1 << 20
# Lines that are sent before somebody else has a turn on the event loop.
_AT_ONCE: Final = 100
# For how long nothing must have been left out for it to be over, in seconds.
_QUIET: Final = 1.0

_ENDS: Final = re.compile(r"\r\n|\n|\r")


class _Line(NamedTuple):
    text: str
    is_error: bool
    # Session and context (see `runs`); empty if it isn't known whose.
    session_id: str = ""
    trace: bytes = b""


class Output:
    """Takes over `sys.stdout` and `sys.stderr`; until it is connected their lines wait."""

    def __init__(self) -> None:
        """Nothing is taken over until `install`."""
        self._originals: tuple[Any, Any] | None = None
        self._lines: collections.deque[_Line] = collections.deque()
        # Reentrant: Python may come to `__del__` anywhere, and that may print.
        self._lock = threading.RLock()
        self._second = 0.0
        self._in_second = 0
        # Lines left out since it was last said so, and as of the last look at it.
        self._left_out = self._seen_left_out = 0
        self._scheduled = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._control: Control
        self._wire: Wire
        self._whose: Callable[[], tuple[str, bytes]] = _nobodys

    def install(self) -> None:
        """Take over. Before anything is imported that would keep the originals."""
        self._originals = sys.stdout, sys.stderr
        sys.stdout = _Stream(self, sys.stdout, is_error=False)
        sys.stderr = _Stream(self, sys.stderr, is_error=True)

    def connect(
        self,
        wire: Wire,
        control: Control,
        loop: asyncio.AbstractEventLoop,
        whose: Callable[[], tuple[str, bytes]],
    ) -> None:
        """Send from now on; `whose` tells to which session and context a thread belongs."""
        self._wire, self._control, self._whose = wire, control, whose
        self._loop = loop
        self._wake()

    def close(self) -> None:
        """Give back what was taken over, with what has not been sent."""
        if self._originals is None:
            return
        originals, self._originals = self._originals, None
        sys.stdout, sys.stderr = originals
        with self._lock:
            lines, self._lines = self._lines, collections.deque()
        for line in lines:
            with contextlib.suppress(OSError, ValueError):
                originals[line.is_error].write(line.text + "\n")

    def whose(self) -> tuple[str, bytes]:
        """To which session and context this thread belongs."""
        return self._whose()

    def add(self, text: str, *, is_error: bool, whose: tuple[str, bytes]) -> None:
        """Take a line."""
        if len(text) > _MAX_LINE:
            text = text[:_MAX_LINE] + " \N{HORIZONTAL ELLIPSIS}"
        with self._lock:
            now = time.monotonic()
            if now - self._second >= 1:
                self._second, self._in_second = now, 0
            self._in_second += 1
            if self._in_second > _MAX_RATE or len(self._lines) >= _MAX_WAITING:
                self._left_out += 1
            else:
                self._lines.append(_Line(text, is_error, *whose))
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            if self._scheduled or self._loop is None:
                return
            self._scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._send)
            except RuntimeError:  # It is closed: the worker is ending.
                self._loop = None

    # --- on the event loop ------------------------------------------------------------------

    def _send(self) -> None:
        self._scheduled = False
        for _ in range(_AT_ONCE):
            try:
                line = self._lines.popleft()
            except IndexError:
                break
            if self._control.unsent_bytes > _MAX_UNSENT:
                with self._lock:
                    self._left_out += 1
            else:
                self._send_line(line)
        if self._lines:
            self._wake()
        if self._left_out and not self._seen_left_out:
            self._say(
                f"More is printed than can be taken ({_MAX_RATE} lines a second):"
                " the rest is left out."
            )
            self._look_again()

    def _look_again(self) -> None:
        assert self._loop is not None
        self._seen_left_out = self._left_out
        self._loop.call_later(_QUIET, self._look)

    def _look(self) -> None:
        if self._left_out != self._seen_left_out:
            self._look_again()
            return
        with self._lock:
            lines, self._left_out, self._seen_left_out = self._left_out, 0, 0
        self._say(f"{lines} printed lines have been left out.")

    def _say(self, text: str) -> None:
        self._send_line(_Line(f"streamfleet: {text}", is_error=True))

    def _send_line(self, line: _Line) -> None:
        # What is no Unicode is no text for protobuf, either.
        text = line.text.encode("utf-8", "backslashreplace").decode()
        printed = self._wire.printed(
            session_id=line.session_id, trace=line.trace, line=text, error=line.is_error
        )
        self._control.send(printed=printed)


def _nobodys() -> tuple[str, bytes]:
    return "", b""


class _Rest:
    """What a thread has printed of a line that it hasn't ended."""

    def __init__(self, output: Output, *, is_error: bool) -> None:
        self._output = output
        self._is_error = is_error
        self.text = ""
        self.whose = _nobodys()

    def __del__(self) -> None:
        # The thread has ended, and so has the line.
        if self.text:
            self._output.add(self.text, is_error=self._is_error, whose=self.whose)


class _Stream:
    """Stands for `sys.stdout` or `sys.stderr`, and is like it in all but `write`."""

    def __init__(self, output: Output, original: Any, *, is_error: bool) -> None:
        self._output = output
        self._original = original
        self._is_error = is_error
        self._of_thread = threading.local()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        try:
            rest: _Rest = self._of_thread.rest
        except AttributeError:
            rest = self._of_thread.rest = _Rest(self._output, is_error=self._is_error)
        *lines, last = _ENDS.split(rest.text + text if rest.text else text)
        rest.text = last[: _MAX_LINE + 1]
        if lines or last:
            rest.whose = self._output.whose()
        for line in lines:
            if line:
                self._output.add(line, is_error=self._is_error, whose=rest.whose)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._original.flush()

    def close(self) -> None:
        # It is not the app's.
        self.flush()


io.TextIOBase.register(_Stream)
