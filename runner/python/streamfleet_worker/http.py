"""A plain HTTP request as the ASGI app sees it."""

from __future__ import annotations

import asyncio
import collections
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from streamfleet_worker.stream import StreamConnection
    from streamfleet_worker.wire import Message, Wire

# Longest part of a response body sent as one message, in bytes.
_PART: Final = 256 * 1024


class HttpStream:
    """The ASGI side of one request."""

    def __init__(self, wire: Wire, connection: StreamConnection, end_of_body: bool) -> None:
        """Serve the connection; `end_of_body` tells that the request has no body."""
        self._wire = wire
        self._connection = connection
        self._received: collections.deque[tuple[dict[str, Any], int]] = collections.deque()
        self._arrival = asyncio.Event()
        self._started = False
        self._ended = False
        self._lost = False
        if end_of_body:
            self._queue(_request(b"", more=False), 0)

    def enter_task(self) -> None:
        """Nothing to mark: requests carry no session."""

    # --- from the runner ------------------------------------------------------------------

    def on_request(self, kind: str, message: Message, size: int) -> None:
        """Queue a part of the body for the app; an empty part ends it."""
        if kind == "body":
            self._queue(_request(message, more=bool(message)), size)

    def on_lost(self) -> None:
        """The client is gone."""
        self._lost = True
        self._arrival.set()

    def _queue(self, event: dict[str, Any], size: int) -> None:
        self._received.append((event, size))
        self._arrival.set()

    # --- ASGI -----------------------------------------------------------------------------

    async def receive(self) -> dict[str, Any]:
        """ASGI's receive."""
        while not self._received:
            if self._lost or self._ended:
                return {"type": "http.disconnect"}
            self._arrival.clear()
            await self._arrival.wait()
        event, size = self._received.popleft()
        self._connection.consumed(size)
        return event

    async def send(self, event: dict[str, Any]) -> None:
        """ASGI's send."""
        if self._ended or self._lost:
            return
        if event["type"] == "http.response.start":
            self._started = True
            headers = [
                self._wire.header(name=name, value=value)
                for name, value in event.get("headers", ())
            ]
            self._connection.send(
                head=self._wire.response_head(status=event["status"], headers=headers)
            )
        elif event["type"] == "http.response.body":
            body = memoryview(event.get("body", b""))
            for start in range(0, len(body), _PART):
                await self._connection.writable()
                self._connection.send(body=bytes(body[start : start + _PART]))
            if not event.get("more_body", False):
                self._end()

    def on_app_error(self) -> None:
        """The app raised: an error page if nothing was sent, else a broken-off answer."""
        if not self._started:
            self._connection.send(head=self._wire.response_head(status=500))
            self._connection.send(body=b"Internal Server Error")
            self._end()

    def on_app_done(self) -> None:
        """The app returned."""
        if not self._ended:
            self._connection.abort()

    def _end(self) -> None:
        self._ended = True
        self._arrival.set()
        self._connection.send(end=self._wire.end())
        self._connection.finish()


def _request(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}
