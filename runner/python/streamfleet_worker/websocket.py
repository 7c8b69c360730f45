"""A browser's WebSocket as the ASGI app sees it, and the short way out for Streamlit's messages."""

from __future__ import annotations

import asyncio
import collections
import contextvars
import dataclasses
import enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from streamfleet_worker.runs import Asked, now_us

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamfleet_worker.keeper import Keeper
    from streamfleet_worker.stream import StreamConnection
    from streamfleet_worker.wire import Message, Wire

# What may wait for a browser that reads slowly, in bytes, before it is disconnected. The message
# that comes on top may be of any size that Streamlit allows.
_UNSENT_LIMIT: Final = 64 * 1024 * 1024
# One batch is at most this long, in bytes, unless a single message is longer.
_BATCH_LIMIT: Final = 1024 * 1024

# How long the messages of a browser that is gone may wait to be handled, in seconds.
_GONE_LIMIT: Final = 30.0
# A snapshot that was sent so shortly before the stream broke may not have arrived, in seconds.
_DOUBTFUL: Final = 5.0

# RFC 6455, section 7.4.1.
_GOING_AWAY: Final = 1001
_ABNORMAL: Final = 1006
_INTERNAL_ERROR: Final = 1011
# The status uvicorn answers with when an app closes a WebSocket that it has not accepted.
_FORBIDDEN: Final = 403

_current: contextvars.ContextVar[WebSocketStream | None] = contextvars.ContextVar(
    "streamfleet_stream", default=None
)


class SessionLeftError(Exception):
    """The session that a connection is for was here when it was made, and has left since."""


class Admission(enum.Enum):
    """What is to be done with the browser's next message."""

    TAKE = enum.auto()
    WAIT = enum.auto()
    # It has had its effect.
    SKIP = enum.auto()


@dataclasses.dataclass(slots=True)
class Opening:
    """What worker.proto's `Open` says of a session.

    A copy: the message would keep the memory of all that came with it.
    """

    session_id: str
    resume_session_id: str = ""
    connection: int = 0
    # Taken by whoever restores the session.
    restore: Message | None = None
    refresh: bool = False
    replay_until: int = 0
    notice: str = ""
    trace: bytes = b""
    # When it came, in microseconds since 1970.
    at_us: int = 0

    @classmethod
    def of(cls, message: Message) -> Opening:
        """Of an `Open` message."""
        return cls(
            session_id=message.session_id,
            resume_session_id=message.resume_session_id,
            connection=message.connection,
            restore=message.restore if message.HasField("restore") else None,
            refresh=message.refresh,
            replay_until=message.replay_until,
            notice=message.notice,
            trace=message.trace,
            at_us=now_us(),
        )


_NOTHING: Final = Asked()


class _Received(NamedTuple):
    """An event for the app, its size on the wire, and which message of the browser's it is."""

    event: dict[str, Any]
    size: int = 0
    asked: Asked = _NOTHING

    @property
    def is_message(self) -> bool:
        return bool(self.event["type"] == "websocket.receive")


class WebSocketStream:
    """The ASGI side of one WebSocket."""

    def __init__(self, wire: Wire, connection: StreamConnection, opening: Opening) -> None:
        """Serve the connection that `opening` opened."""
        # A session that is made for it is to have this id.
        self.session_id = opening.session_id
        self.opening = opening
        # Of its session, as long as it has one.
        self.keeper: Keeper | None = None
        # It broke off; the browser may not know.
        self.is_lost = False
        self._wire = wire
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._received = collections.deque([_Received({"type": "websocket.connect"})])
        self._arrival = asyncio.Event()
        # The number of the last message from the browser.
        self.last_received = 0
        # The number of the message that the app has taken and not come back from.
        self._taken = 0
        self._accepted = False
        self._ended = False
        # The app is told that the browser is gone, whatever else it sends.
        self._cut = False
        self._snapshot_sent = float("-inf")
        # What may be unsent besides, in bytes.
        self._allowance = 0

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
            self._queue(event, size, Asked(message.trace, message.seq, now_us()))
        elif kind == "close":
            self._end_of_browser(_disconnect(message.code, message.reason), size)

    def on_lost(self) -> None:
        """The runner or the gateway is gone."""
        self.is_lost = True
        self._end_of_browser(_disconnect(_ABNORMAL, ""), 0)

    def _end_of_browser(self, event: dict[str, Any], size: int) -> None:
        if self._received:
            self._loop.call_later(_GONE_LIMIT, self._cut_off)
        self._queue(event, size)

    def _queue(self, event: dict[str, Any], size: int, asked: Asked = _NOTHING) -> None:
        self.last_received = max(self.last_received, asked.seq)
        self._received.append(_Received(event, size, asked))
        self._arrival.set()

    # --- ASGI -----------------------------------------------------------------------------

    async def receive(self) -> dict[str, Any]:
        """ASGI's receive: the next event, once the session's keeper admits it."""
        # Streamlit has come back from the one before, so it has been handled.
        taken, self._taken = self._taken, 0
        if taken and self.keeper is not None:
            self.keeper.on_handled(taken)
        while True:
            self._arrival.clear()
            event = self._next()
            if event is not None:
                return event
            await self._arrival.wait()

    def _next(self) -> dict[str, Any] | None:
        if self._cut:
            return _disconnect(_GOING_AWAY, "")
        while self._received:
            received = self._received[0]
            admission = Admission.TAKE
            if received.is_message and self.keeper is not None:
                admission = self.keeper.admits(received.asked)
            if admission == Admission.WAIT:
                return None
            self._received.popleft()
            self._connection.consumed(received.size)
            if admission == Admission.TAKE:
                self._taken = received.asked.seq
                return received.event
        return None

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

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._ended or self._connection.closed

    @property
    def may_have_lost_snapshot(self) -> bool:
        """Whether a snapshot was sent and nobody may have got it."""
        return self.is_lost and self._loop.time() - self._snapshot_sent < _DOUBTFUL

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
        unsent = connection.unsent_bytes
        if unsent <= _UNSENT_LIMIT:
            self._allowance = 0
        elif unsent > _UNSENT_LIMIT + self._allowance:
            self._ended = True
            connection.abort()
            return
        batch: list[bytes] = []
        size = 0
        for message in messages:
            if batch and size + len(message) > _BATCH_LIMIT:
                connection.send_batch(batch, size)
                batch, size = [], 0
            batch.append(message)
            size += len(message)
        connection.send_batch(batch, size)

    def send_report(self, run: Message, otherwise: Callable[[], None]) -> None:
        """Say what a run of the session's script was; `otherwise` is called if that can't be said here."""
        # A snapshot follows most of them.
        self._connection.send_soon(otherwise, run=run)

    def send_snapshot(self, snapshot: Message) -> None:
        """Send a snapshot of the session."""
        self._snapshot_sent = self._loop.time()
        self._connection.send(snapshot=snapshot)
        # It isn't the browser who is slow to take it.
        self._allowance = self._connection.unsent_bytes

    def send_applied(self, seq: int) -> None:
        """Say up to where the browser's messages have had their effect."""
        self._connection.send(applied_seq=seq)

    def release(self, released: Message) -> None:
        """The session has ended here: say so as the last word, and drop what has not been handled."""
        self._leave(released=released)

    def give_back(self, unloadable: Message) -> None:
        """The same of a session that could not be made again."""
        self._leave(unloadable=unloadable)

    def send_unloadable(self, unloadable: Message) -> None:
        """Say why the session starts afresh."""
        self._connection.send(unloadable=unloadable)

    def _leave(self, **last_word: Message) -> None:
        if self._ended:
            return
        self._connection.send(**last_word)
        self._ended = True
        self._cut_off()
        self._connection.finish()

    def replace(self) -> None:
        """Another connection has the session."""
        self._close(_GOING_AWAY, "replaced by another connection")
        self._cut_off()

    def poke(self) -> None:
        """The keeper may decide otherwise about messages that wait."""
        self._arrival.set()

    def _cut_off(self) -> None:
        self._cut = True
        self._received.clear()
        self._arrival.set()

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
