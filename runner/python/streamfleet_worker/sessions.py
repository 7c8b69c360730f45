"""Streamlit's session manager and session storage, told apart only by what the runner must know."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from streamlit import runtime
from streamlit.runtime import RuntimeState
from streamlit.runtime.session_manager import SessionInfo, SessionStorage
from streamlit.runtime.websocket_session_manager import WebsocketSessionManager

from streamfleet_worker import streamlit_compat, streamlit_compat_content
from streamfleet_worker.keeper import Keeper
from streamfleet_worker.outbox import Outbox
from streamfleet_worker.restore import STATE_LOST, STATE_OUTDATED, restore
from streamfleet_worker.uploads import FleetUploadedFileManager
from streamfleet_worker.websocket import SessionLeftError, WebSocketStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlit.runtime.script_data import ScriptData
    from streamlit.runtime.session_manager import SessionClient

    from streamfleet_worker.load import LoadReporter
    from streamfleet_worker.streamlit_compat import RunListener
    from streamfleet_worker.turns import Turns
    from streamfleet_worker.websocket import Opening
    from streamfleet_worker.wire import Message, Wire

# How long an ending worker waits for its sessions to be kept, within the runner's limit for it to
# end, and how often it looks, in seconds.
_KEEPING_LIMIT: Final = 1.5
_KEEPING_PAUSE: Final = 0.01
# Disconnected sessions kept for their browsers to come back to, in one worker; as in Streamlit.
_MAX_STORED: Final = 128


class SessionEvents:
    """What the session classes tell the rest of the worker, and what it tells them.

    Set before the runtime is made: Streamlit constructs the session manager by itself.
    """

    def __init__(
        self,
        wire: Wire,
        tell: Callable[..., None],
        load: LoadReporter,
        *,
        max_snapshot_bytes: int = 0,
        runs: RunListener | None = None,
        turns: Turns | None = None,
    ) -> None:
        """Have `tell` called with each event for the runner, as the one keyword of its kind."""
        self.wire = wire
        self.tell = tell
        self.load = load
        self.max_snapshot_bytes = max_snapshot_bytes
        self.runs = runs
        self.turns = turns
        # Set by the session manager when Streamlit makes it.
        self.sessions: FleetSessions
        self.keepers: dict[str, Keeper] = {}
        # Keeps the worker's own tasks from being collected.
        self.background: list[asyncio.Task[None]] = []

    def ended(self, session_id: str) -> None:
        """The session is gone for good."""
        self.forget(session_id)
        self.tell(session_ended=self.wire.session_ended(session_id=session_id))

    def forget(self, session_id: str) -> None:
        """The session is no longer here."""
        keeper = self.keepers.pop(session_id, None)
        if keeper is not None:
            keeper.close()

    async def keep_all(self) -> None:
        """Have all sessions be kept, as the process is about to end; those that can't be in time are left."""
        keepers = list(self.keepers.values())
        for keeper in keepers:
            keeper.prepare_for_end()
        deadline = asyncio.get_running_loop().time() + _KEEPING_LIMIT
        while not all(keeper.is_kept for keeper in keepers):
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(_KEEPING_PAUSE)

    def take_snapshot(self, session_id: str) -> None:
        """The runner wants all of a session."""
        keeper = self.keepers.get(session_id)
        if keeper is not None:
            keeper.take_snapshot()

    def stop_run(self, session_id: str) -> None:
        """The runner wants a session's script to stop, as if its user had asked for it."""
        keeper = self.keepers.get(session_id)
        if keeper is not None:
            keeper.session.request_script_stop()

    def release(self, session_id: str, *, now: bool, only_at_rest: bool) -> None:
        """The runner wants a session to go on elsewhere."""
        keeper = self.keepers.get(session_id)
        if keeper is not None:
            keeper.release(now=now, only_at_rest=only_at_rest)
        else:
            self.sessions.let_go(session_id)
            self.tell(released=self.wire.released(session_id=session_id))


class FleetSessions(WebsocketSessionManager):
    """Gives sessions the gateway's ids, a keeper, and their messages a way out of their own."""

    # Set in the subclass that `session_manager_class` makes.
    events: SessionEvents

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what Streamlit constructs it with."""
        super().__init__(*args, **kwargs)
        self.events.sessions = self
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
        """Give the browser its session, or a new one."""
        stream = WebSocketStream.current()
        notice = ""
        restored: Message | None = None
        if existing_session_id is not None:
            self._take_over(existing_session_id, user_info, stream)
        if stream is not None:
            self._check_that_it_is_here(stream.opening)
            restored, notice = self._restore(stream, script_data)
            # An id that can't be resumed must not keep the new session from the id that the
            # gateway has placed it by.
            if not self._may_resume(existing_session_id, user_info):
                if restored is not None:
                    streamlit_compat_content.drop_stored_session(
                        self, stream.opening.resume_session_id
                    )
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
            keeper = self._attach(session_id, stream)
            if session_id != existing_session_id:
                keeper.start_fresh(notice)
            elif restored is not None:
                keeper.start_restored(restored)
            else:
                keeper.start_resumed()
        self.events.load.changed()
        return session_id

    def _check_that_it_is_here(self, opening: Opening) -> None:
        session_id = opening.resume_session_id
        if session_id and opening.restore is None and self.get_session_info(session_id) is None:
            raise SessionLeftError(session_id)

    def _restore(
        self, stream: WebSocketStream, script_data: ScriptData
    ) -> tuple[Message | None, str]:
        """Store the session that came with the connection, to be resumed.

        Returns it, its values still pickled: they are nobody's business but its user's. Or else word
        for the user of what is lost.
        """
        opening = stream.opening
        snapshot, opening.restore = opening.restore, None
        session_id = opening.resume_session_id
        if snapshot is None or self.get_session_info(session_id) is not None:
            return None, ""
        session = restore(self, script_data, session_id, snapshot.core)
        if session is None:
            if not snapshot.foreign:
                return None, STATE_LOST
            afresh = not snapshot.may_return
            reason = "the session itself can't be read"
            unloadable = self.events.wire.unloadable(reason=reason, afresh=afresh)
            if not afresh:
                stream.give_back(unloadable)
                raise SessionLeftError(session_id)
            stream.send_unloadable(unloadable)
            return None, STATE_OUTDATED
        streamlit_compat_content.store_session(self, session)
        uploads = _uploads_of(self)
        if uploads is not None:
            uploads.mark_restored(session_id)
        return snapshot, ""

    def _attach(self, session_id: str, stream: WebSocketStream) -> Keeper:
        info = self.get_active_session_info(session_id)
        assert info is not None
        session = streamlit_compat.adopt(info.session)
        session.run_listener = self.events.runs
        session.turns = self.events.turns
        keeper = self.events.keepers.get(session_id)
        if keeper is None:
            keeper = self.events.keepers[session_id] = Keeper(
                self.events.wire,
                session,
                max_bytes=self.events.max_snapshot_bytes,
                uploads=_uploads_of(self),
                tell=self.events.tell,
                end=self.let_go,
            )
        self._streams[session_id] = stream
        stream.bind(session_id)
        outbox = Outbox(keeper, stream, self.events.load)
        keeper.attach(stream, outbox)
        # A session that was disconnected may have messages left from then.
        outbox.wake()
        return keeper

    def disconnect_session(self, session_id: str) -> None:
        """The browser is gone; it may come back."""
        stream = WebSocketStream.current()
        if stream is not None and stream is not self._streams.get(session_id, stream):
            return  # A connection that another has replaced takes nothing along.
        self._disconnect(session_id, go_on=stream is not None and stream.is_lost)

    def _disconnect(self, session_id: str, *, go_on: bool) -> None:
        """Disconnect a session; `go_on` is for when its browser may still be waiting for it."""
        self._streams.pop(session_id, None)
        info = self.get_active_session_info(session_id)
        session = None if info is None else streamlit_compat.adopt(info.session)
        if session is not None:
            session.is_changing_hands = go_on and session.may_come_back
        super().disconnect_session(session_id)
        if session is not None:
            stopped = not session.is_changing_hands
            session.is_changing_hands = False
            keeper = self.events.keepers.get(session_id)
            if keeper is not None:
                keeper.detach(stopped=stopped)
        if self.get_session_info(session_id) is None:
            self.events.ended(session_id)
        self.events.load.changed()

    def close_session(self, session_id: str) -> None:
        """End a session for good."""
        if not runtime.exists() or runtime.get_instance().state == RuntimeState.STOPPING:
            # It is the process that ends; the session may go on elsewhere.
            self._leave(session_id)
        self._streams.pop(session_id, None)
        super().close_session(session_id)
        self.events.ended(session_id)
        self.events.load.changed()

    def end_here(self, session_id: str) -> None:
        """End a session that another process has."""
        self._leave(session_id)
        self.close_session(session_id)

    def let_go(self, session_id: str) -> None:
        """End a session here; it may go on elsewhere."""
        self._streams.pop(session_id, None)
        uploads = _uploads_of(self)
        if uploads is not None:
            uploads.release(session_id)
        self._leave(session_id)
        super().close_session(session_id)
        self.events.forget(session_id)
        self.events.load.changed()

    def _leave(self, session_id: str) -> None:
        info = self.get_session_info(session_id)
        if info is not None:
            streamlit_compat.adopt(info.session).is_leaving = True

    def _take_over(
        self, session_id: str, user_info: dict[str, Any], stream: WebSocketStream | None
    ) -> None:
        """Let a browser that comes back have its session from a connection that still looks alive.

        It may take long until the end of a connection is noticed, and the browser is back at
        once. Newer versions of Streamlit do the same. The older connection's gateway is told, or
        it would come back for the session too.
        """
        if self.is_active_session(session_id) and self._may_resume(session_id, user_info):
            older = self._streams.get(session_id)
            # Only the way to the browser is another: what it has asked for goes on.
            self._disconnect(session_id, go_on=stream is not None and stream.opening.refresh)
            if older is not None:
                older.replace()

    def _may_resume(self, session_id: str | None, user_info: dict[str, Any]) -> bool:
        if not session_id:
            return False
        info = self.get_session_info(session_id)
        return info is not None and streamlit_compat.may_resume(info.session, user_info)


def session_manager_class(events: SessionEvents) -> type[FleetSessions]:
    """The session manager to name in the `RuntimeConfig`."""
    return type("FleetSessionManager", (FleetSessions,), {"events": events})


def _uploads_of(manager: WebsocketSessionManager) -> FleetUploadedFileManager | None:
    uploads = streamlit_compat_content.uploaded_files_of(manager)
    return uploads if isinstance(uploads, FleetUploadedFileManager) else None


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
