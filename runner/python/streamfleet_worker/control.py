"""The worker's end of the control connection, once the event loop runs."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Final, cast

from streamfleet_worker.wire import FrameSplitter, Message, Wire, frame

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

# How long the runner may take to read what is said last, in seconds.
_CLOSE_LIMIT: Final = 1.0


class Control(asyncio.Protocol):
    """Tells the runner what happens here, and hears what it wants."""

    def __init__(self, wire: Wire) -> None:
        """Set up the protocol; `open` connects it."""
        self._wire = wire
        self._splitter = FrameSplitter()
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._transport: asyncio.Transport | None = None
        self._handlers: dict[str, Callable[[Message], None]] = {}
        # Set when the runner asks for the end, or is gone.
        self.stop_requested = asyncio.Event()
        # Awaited before the end, unless the runner is gone.
        self.before_stop: list[Callable[[], Awaitable[None]]] = []
        self._lost = asyncio.Event()

    @classmethod
    async def open(cls, wire: Wire, source: socket.socket) -> Control:
        """Take over the connected socket."""
        source.setblocking(False)
        control = cls(wire)
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: control, sock=source)
        return control

    def on(self, kind: str, handler: Callable[[Message], None]) -> None:
        """Have `handler` called with each request of this kind; see worker.proto for what is in it."""
        self._handlers[kind] = handler

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Handle the runner's requests."""
        for part in self._splitter.feed(data):
            request = self._wire.control_request(part)
            kind = request.WhichOneof("kind")
            if kind == "stop":
                self.stop_requested.set()
            elif kind == "ping":
                self.send(pong=self._wire.pong(number=request.ping.number))
            elif kind in self._handlers:
                self._handlers[kind](getattr(request, kind))

    def connection_lost(self, exc: Exception | None) -> None:
        """End with the runner: nobody else could reach this worker."""
        self._transport = None
        self._lost.set()
        self.stop_requested.set()

    async def say_last(self) -> None:
        """Have everybody say their last."""
        if self._transport is not None:
            for farewell in self.before_stop:
                await farewell()

    async def close(self) -> None:
        """Send what is unsent, and no more."""
        if self._transport is not None:
            self._transport.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), _CLOSE_LIMIT)

    @property
    def unsent_bytes(self) -> int:
        """Bytes written that the runner has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def send(self, **kind: Message) -> None:
        """Send an event, given as the one keyword of its kind. Callable from any thread."""
        data = frame(self._wire.control_event(**kind))
        if threading.get_ident() == self._loop_thread:
            self._write(data)
            return
        with contextlib.suppress(RuntimeError):  # The loop is closed: the worker is ending.
            self._loop.call_soon_threadsafe(self._write, data)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
