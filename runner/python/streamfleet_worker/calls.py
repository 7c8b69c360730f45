"""What a thread asks of the runner and waits for: one connection for each call (see calls.proto)."""

from __future__ import annotations

import io
import math
import select
import socket
import time
from typing import TYPE_CHECKING, NoReturn

from streamfleet_worker.wire import BlockingReader, frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from _typeshed import WriteableBuffer

    from streamfleet_worker.wire import Message, Wire


class CallFailedError(Exception):
    """The runner could not do it, or can't be asked."""

    def __init__(self, reason: str, *, may_pass: bool) -> None:
        """Keep the reason, and whether asking again later may help."""
        super().__init__(reason)
        self.may_pass = may_pass


class Calls:
    """Makes calls, from any thread but the event loop's, which must not wait."""

    def __init__(self, wire: Wire, path: str) -> None:
        """Call the runner at the Unix socket `path`."""
        self.wire = wire
        self._path = path

    def open(self, limit: float) -> Call:
        """Begin a call that may take `limit` seconds in all."""
        return Call(self.wire, self._path, time.monotonic() + limit)


class Call:
    """One call, as a context. Whatever goes wrong is a `CallFailedError`."""

    def __init__(self, wire: Wire, path: str, deadline: float) -> None:
        """Connect."""
        self._wire = wire
        self._deadline = deadline
        self._socket = socket.socket(socket.AF_UNIX)
        self._reader = BlockingReader(self._socket)
        try:
            self._socket.settimeout(self._left())
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            _raise(error)

    def __enter__(self) -> Call:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def extend(self, limit: float) -> None:
        """Let what follows take `limit` seconds from now."""
        self._deadline = time.monotonic() + limit

    def send(self, **kind: Message) -> None:
        """Send a request, given as the one keyword of its kind."""
        self.send_raw(frame(self._wire.call_request(**kind)))

    def send_raw(self, data: bytes) -> None:
        """Send what belongs to a request and is in no message."""
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            # Who refuses hangs up early, but not without an answer.
            self.receive()
            _raise(error)
        except OSError as error:
            _raise(error)

    def receive(self) -> Message:
        """The next message of the answer; never one that says that it failed."""
        try:
            self._socket.settimeout(self._left())
            answer = self._wire.call_response(self._reader.read())
        except (OSError, EOFError) as error:
            _raise(error)
        if answer.WhichOneof("kind") == "failed":
            raise CallFailedError(answer.failed.reason, may_pass=answer.failed.may_pass)
        return answer

    def receive_raw(self, size: int) -> bytes:
        """What follows the last message of the answer and is in none itself.

        It is received into where it stays: nothing so large is to be in memory twice.
        """
        try:
            data = io.BufferedReader(_Incoming(self._socket, self._left)).read(size)
        except OSError as error:
            _raise(error)
        if len(data) < size:
            _raise(EOFError("the runner closed the connection"))
        return data

    def arrives(self, timeout: float) -> bool:
        """Wait for an answer, or the end of the connection; whether there is one by then."""
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return bool(poller.poll(math.ceil(max(timeout, 0) * 1000)))

    def finish(self, timeout: float) -> None:
        """Send no more, and wait for the runner to hang up."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            _raise(error)
        self.arrives(timeout)

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the runner took too long")
        return left


class _Incoming(io.RawIOBase):
    """What comes from a socket, as long as there is time left."""

    def __init__(self, source: socket.socket, left: Callable[[], float]) -> None:
        self._source = source
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        self._source.settimeout(self._left())
        return self._source.recv_into(buffer)


def _raise(error: Exception) -> NoReturn:
    reason = "the runner took too long" if isinstance(error, TimeoutError) else str(error)
    raise CallFailedError(reason or type(error).__name__, may_pass=True) from error
