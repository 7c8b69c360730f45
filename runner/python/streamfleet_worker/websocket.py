"""A browser's WebSocket as the ASGI app sees it, and the short way out for Streamlit's messages."""

from __future__ import annotations

import asyncio
import collections
import contextvars
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from streamfleet_worker.stream import StreamConnection
    from streamfleet_worker.wire import Message, Wire

# What may wait for a browser that reads slowly, in bytes, before it is disconnected. The message
# that comes on top may be of any size that Streamlit allows.
_UNSENT_LIMIT: Final = 64 * 1024 * 1024
# One batch is at most this long, in bytes, unless a single message is longer.
_BATCH_LIMIT: Final = 1024 * 1024

# RFC 6455, section 7.4.1.
_GOING_AWAY: Final = 1001
_ABNORMAL: Final = 1006
_INTERNAL_ERROR: Final = 1011
# The status uvicorn answers with when an app closes a WebSocket that it has not accepted.
_FORBIDDEN: Final = 403

_current: contextvars.ContextVar[WebSocketStream | None] = contextvars.ContextVar(
    "streamfleet_stream", default=None
)


class WebSocketStream:
    """The ASGI side of one WebSocket."""

    def __init__(self, wire: Wire, connection: StreamConnection, session_id: str) -> None:
        """Serve the connection; a session that it makes is to have `session_id`."""
        self.session_id = session_id
        self._wire = wire
        self._connection = connection
        self._received: collections.deque[tuple[dict[str, Any], int]] = collections.deque(
            [({"type": "websocket.connect"}, 0)]
        )
        self._arrival = asyncio.Event()
        self._arrival.set()
        self._accepted = False
        self._ended = False

    def enter_task(self) -> None:
        """Make this the stream of the current task."""
        _current.set(self)

    @staticmethod
    def current() -> WebSocketStream | None:
        """The WebSocket on whose behalf the current task runs."""
        return _current.get()

    # --- from the runner ------------------------------------------------------------------

    def on_request(self, kind: str, message: Message, size: int) -> None:
        """Queue a message from the browser for the app."""
        if kind == "frame":
            event: dict[str, Any] = {"type": "websocket.receive"}
            if message.text:
                event["text"] = message.payload.decode("utf-8", "replace")
            else:
                event["bytes"] = message.payload
            self._queue(event, size)
        elif kind == "close":
            self._queue(_disconnect(message.code, message.reason), size)

    def on_lost(self) -> None:
        """The runner or the gateway is gone."""
        self._queue(_disconnect(_ABNORMAL, ""), 0)

    def _queue(self, event: dict[str, Any], size: int) -> None:
        self._received.append((event, size))
        self._arrival.set()

    # --- ASGI -----------------------------------------------------------------------------

    async def receive(self) -> dict[str, Any]:
        """ASGI's receive."""
        while not self._received:
            self._arrival.clear()
            await self._arrival.wait()
        event, size = self._received.popleft()
        self._connection.consumed(size)
        return event

    async def send(self, event: dict[str, Any]) -> None:
        """ASGI's send."""
        kind = event["type"]
        if kind == "websocket.send":
            data = event.get("bytes")
            if data is not None:
                self.send_messages([data])
            else:
                self._connection.send(text=event["text"])
            await self._connection.writable()
        elif kind == "websocket.accept":
            self._accepted = True
            self._connection.send(
                accepted=self._wire.accepted(
                    subprotocol=event.get("subprotocol") or "",
                    headers=_headers(self._wire, event.get("headers", ())),
                )
            )
        elif kind == "websocket.close":
            self._close(event.get("code", 1000), event.get("reason") or "")
        elif kind == "websocket.http.response.start":
            self._connection.send(
                head=self._wire.response_head(
                    status=event["status"], headers=_headers(self._wire, event.get("headers", ()))
                )
            )
        elif kind == "websocket.http.response.body":
            self._connection.send(body=event.get("body", b""))
            if not event.get("more_body", False):
                self._end()

    def on_app_error(self) -> None:
        """The app raised."""
        self._close(_INTERNAL_ERROR, "")

    def on_app_done(self) -> None:
        """The app returned."""
        self._close(_GOING_AWAY, "")

    # --- Streamlit's sessions --------------------------------------------------------------

    def bind(self, session_id: str) -> None:
        """This WebSocket carries the session from now on."""
        self.session_id = session_id
        self._connection.send(bound=self._wire.session_bound(session_id=session_id))

    def send_messages(self, messages: list[bytes]) -> None:
        """Send binary messages, each one WebSocket message, as few batches.

        A browser that reads too slowly is disconnected: Streamlit has no way to wait for it, and
        it will come back and run the script again.
        """
        connection = self._connection
        if self._ended or connection.closed:
            return
        if connection.unsent_bytes > _UNSENT_LIMIT:
            self._ended = True
            connection.abort()
            return
        batch: list[bytes] = []
        size = 0
        for message in messages:
            if batch and size + len(message) > _BATCH_LIMIT:
                connection.send(batch=self._wire.message_batch(messages=batch))
                batch, size = [], 0
            batch.append(message)
            size += len(message)
        connection.send(batch=self._wire.message_batch(messages=batch))

    def _close(self, code: int, reason: str) -> None:
        if self._ended:
            return
        if self._accepted:
            self._connection.send(close=self._wire.close(code=code, reason=reason))
        else:
            self._connection.send(head=self._wire.response_head(status=_FORBIDDEN))
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._connection.send(end=self._wire.end())
        self._connection.finish()


def _disconnect(code: int, reason: str) -> dict[str, Any]:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


def _headers(wire: Wire, headers: Any) -> list[Message]:
    return [wire.header(name=name, value=value) for name, value in headers]
