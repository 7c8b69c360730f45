"""Streamlit's session manager and session storage, told apart only by what the runner must know."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Final

from streamlit.runtime.runtime_util import serialize_forward_msg
from streamlit.runtime.session_manager import SessionInfo, SessionStorage
from streamlit.runtime.websocket_session_manager import WebsocketSessionManager

from streamfleet_worker import streamlit_compat
from streamfleet_worker.websocket import WebSocketStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlit.runtime.script_data import ScriptData
    from streamlit.runtime.session_manager import ActiveSessionInfo, SessionClient

    from streamfleet_worker.load import LoadReporter

# Disconnected sessions kept for their browsers to come back to, in one worker; as in Streamlit.
_MAX_STORED: Final = 128


class SessionEvents:
    """What the session classes tell the rest of the worker.

    Set before the runtime is made: Streamlit constructs the session manager by itself.
    """

    def __init__(self, ended: Callable[[str], None], load: LoadReporter) -> None:
        """Have `ended` called with the id of each session that is gone for good."""
        self.ended = ended
        self.load = load
        # Set by the session manager when Streamlit makes it.
        self.sessions: WebsocketSessionManager
        # Keeps the worker's own task from being collected.
        self.background: asyncio.Task[None] | None = None


def session_manager_class(events: SessionEvents) -> type[WebsocketSessionManager]:
    """The session manager to name in the `RuntimeConfig`."""

    class FleetSessionManager(WebsocketSessionManager):
        """Gives sessions the gateway's ids and their messages a way out of their own."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            events.sessions = self
            # The connection that each session with a browser has.
            self._streams: dict[str, WebSocketStream] = {}

        def connect_session(
            self,
            client: SessionClient,
            script_data: ScriptData,
            user_info: dict[str, Any],
            existing_session_id: str | None = None,
            session_id_override: str | None = None,
        ) -> str:
            stream = WebSocketStream.current()
            if existing_session_id is not None:
                self._take_over(existing_session_id, user_info)
            # An id that can't be resumed must not keep the new session from the id that the
            # gateway has placed it by.
            if stream is not None and not self._may_resume(existing_session_id, user_info):
                existing_session_id = None
                session_id_override = session_id_override or stream.session_id
            session_id = super().connect_session(
                client=client,
                script_data=script_data,
                user_info=user_info,
                existing_session_id=existing_session_id,
                session_id_override=session_id_override,
            )
            if stream is not None:
                info = self.get_active_session_info(session_id)
                assert info is not None
                self._streams[session_id] = stream
                _Outbox(self, info, stream, events.load)
                stream.bind(session_id)
            events.load.changed()
            return session_id

        def disconnect_session(self, session_id: str) -> None:
            stream = WebSocketStream.current()
            if stream is not None and stream is not self._streams.get(session_id, stream):
                return  # A connection that another has replaced takes nothing along.
            self._disconnect(session_id)

        def _disconnect(self, session_id: str) -> None:
            self._streams.pop(session_id, None)
            super().disconnect_session(session_id)
            if self.get_session_info(session_id) is None:
                events.ended(session_id)
            events.load.changed()

        def close_session(self, session_id: str) -> None:
            self._streams.pop(session_id, None)
            super().close_session(session_id)
            events.ended(session_id)
            events.load.changed()

        def _take_over(self, session_id: str, user_info: dict[str, Any]) -> None:
            """Let a browser that comes back have its session from a connection that still looks alive.

            It may take long until the end of a connection is noticed, and the browser is back at
            once. Newer versions of Streamlit do the same.
            """
            if self.is_active_session(session_id) and self._may_resume(session_id, user_info):
                self._disconnect(session_id)

        def _may_resume(self, session_id: str | None, user_info: dict[str, Any]) -> bool:
            if not session_id:
                return False
            info = self.get_session_info(session_id)
            return info is not None and streamlit_compat.may_resume(info.session, user_info)

    return FleetSessionManager


class _Outbox:
    """Sends one connected session's messages to its browser, as one batch each time."""

    def __init__(
        self,
        manager: WebsocketSessionManager,
        info: ActiveSessionInfo,
        stream: WebSocketStream,
        load: LoadReporter,
    ) -> None:
        self._manager = manager
        self._info = info
        self._stream = stream
        self._load = load
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._scheduled = False
        self._session = streamlit_compat.adopt(info.session, self._wake)
        # A session that was disconnected may have messages left from then.
        self._wake()

    def _wake(self) -> None:
        if self._scheduled:
            return
        self._scheduled = True
        if threading.get_ident() == self._loop_thread:
            self._loop.call_soon(self._flush)
        else:
            self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        session = self._session
        current = self._manager.get_active_session_info(session.id)
        if current is None or current.client is not self._info.client:
            return  # Disconnected: messages wait in the session for the next connection.
        messages = session.take_messages()
        if not messages:
            return
        self._stream.send_messages([serialize_forward_msg(message) for message in messages])
        session.messages_sent()
        self._load.changed()


class FleetSessionStorage(SessionStorage):
    """Keeps disconnected sessions for a time, and says when one is given up."""

    def __init__(self, ttl_seconds: float, ended: Callable[[str], None]) -> None:
        """Keep each session for `ttl_seconds`, then shut it down and call `ended` with its id."""
        self._ttl_seconds = ttl_seconds
        self._ended = ended
        self._stored: dict[str, tuple[SessionInfo, asyncio.TimerHandle]] = {}

    def get(self, session_id: str) -> SessionInfo | None:
        """The stored session, if it is still kept."""
        entry = self._stored.get(session_id)
        return None if entry is None else entry[0]

    def save(self, session_info: SessionInfo) -> None:
        """Keep a session; the one kept longest gives way when there are too many."""
        session_id = session_info.session.id
        self.delete(session_id)
        while len(self._stored) >= _MAX_STORED:
            self._expire(next(iter(self._stored)))
        timer = asyncio.get_running_loop().call_later(self._ttl_seconds, self._expire, session_id)
        self._stored[session_id] = (session_info, timer)

    def delete(self, session_id: str) -> None:
        """Stop keeping a session, without shutting it down."""
        entry = self._stored.pop(session_id, None)
        if entry is not None:
            entry[1].cancel()

    def list(self) -> list[SessionInfo]:
        """All kept sessions."""
        return [info for info, _ in self._stored.values()]

    def _expire(self, session_id: str) -> None:
        info = self.get(session_id)
        self.delete(session_id)
        if info is not None:
            info.session.shutdown()
            self._ended(session_id)
