"""Keeps one session: says what of it is to outlive this process, and when it may go elsewhere.

A session is *at rest* while no run of its script is going on or asked for. Each time it comes to
rest a snapshot is made of what has changed, and sent after all that the run has sent. Messages
from the browser wait (the *gate* is closed) while their effect would not be as if the session
had been here all the time: before the first run of a restored session has ended, and while
values are being pickled on another thread.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar, Final

from streamlit.logger import get_logger
from streamlit.proto.ClientState_pb2 import ClientState

from streamfleet_worker import streamlit_compat_content
from streamfleet_worker.recorder import Changes, Recorder, Unsaved, is_plain
from streamfleet_worker.restore import STATE_OUTDATED, Values, read_values
from streamfleet_worker.runs import Asked, Reason, SessionRuns, now_us
from streamfleet_worker.values import type_name
from streamfleet_worker.websocket import Admission

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamfleet_worker.outbox import Outbox
    from streamfleet_worker.streamlit_compat import FleetAppSession
    from streamfleet_worker.streamlit_compat_content import SessionContent
    from streamfleet_worker.uploads import FleetUploadedFileManager
    from streamfleet_worker.websocket import Opening, WebSocketStream
    from streamfleet_worker.wire import Message, Wire

_LOGGER: Final = get_logger(__name__)

# Values whose pickling took longer than this the last time are pickled on a thread of its own,
# in seconds: nobody else is served meanwhile.
_INLINE_LIMIT: Final = 0.002
# How long the browser's messages wait for pickling, for a run that it doesn't see, and a repeated
# message for the run of the one before it, in seconds.
_PICKLING_LIMIT: Final = 30.0
_UNSEEN_LIMIT: Final = 30.0
_REPLAY_LIMIT: Final = 30.0


def _pickling_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="streamfleet-pickling")


class Keeper:
    """Of one session, from its first browser in this worker to its end here."""

    # One for all sessions: pickling holds the interpreter most of the time anyway.
    _thread: ClassVar[ThreadPoolExecutor] = _pickling_thread()

    def __init__(
        self,
        wire: Wire,
        session: FleetAppSession,
        *,
        max_bytes: int,
        uploads: FleetUploadedFileManager | None = None,
        tell: Callable[..., None],
        end: Callable[[str], None],
    ) -> None:
        """Send events by `tell`; call `end` with the session's id to end it here."""
        self.session = session
        self._wire = wire
        self._tell = tell
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._uploads = uploads
        self._uploading: asyncio.Task[None] | None = None
        self._recorder = Recorder(session.id, max_bytes, time.perf_counter)
        self.runs = SessionRuns(wire, session.id, self._report)

        self._stream: WebSocketStream | None = None
        self._outbox: Outbox | None = None
        self._connection = 0
        # All of the connection's messages up to this one have been handled by Streamlit.
        self._handled = 0
        # Messages up to this one are handled one at a time.
        self._replay_until = 0
        self._replay_deadline = 0.0
        self._has_backlog = False

        self._core = b""
        self._full = True
        self._cost = 0.0
        # Counts attempts; None unless values are being pickled on the thread.
        self._pickling: int | None = None
        self._attempts = 0
        self._forgotten = False

        # What the script sends is dropped.
        self.is_muted = False
        # At rest, run once more for the browser's page to be right.
        self._refresh = False
        # A restored session whose values are being read; one that has not run yet; one that does
        # so, and from what state; what it is to run for once it has, and the message's number.
        self._reading: asyncio.Future[Values] | None = None
        # Another revision of the app has written what is being read; a runner of it is left.
        self._is_foreign = self._may_return = False
        self._cold = False
        self._warming: ClientState | None = None
        self._postponed: list[tuple[ClientState | None, Asked]] = []
        self._postponed_seq = 0
        # A page that nothing has been run for, and whose browser doesn't know.
        self._blank = False
        self._notice = ""

        self._releasing = False
        self._over = False
        # Whether the process is ending, and nobody may read the stream any more.
        self._ending = False
        session.listener = self
        session.runs = self.runs

    # --- Its browser ----------------------------------------------------------------------

    def attach(self, stream: WebSocketStream, outbox: Outbox) -> None:
        """A browser's connection has the session from now on."""
        opening = stream.opening
        if opening.connection != self._connection or not opening.connection:
            self._connection = opening.connection
            self._handled = 0
        self._replay_until = opening.replay_until
        self._wait_for_run()
        self._notice = opening.notice or self._notice
        self._stream, self._outbox = stream, outbox
        self.session.message = None
        stream.keeper = self

    def detach(self, *, stopped: bool) -> None:
        """The session has no browser; `stopped` tells whether its script was asked to stop."""
        stream, self._stream, self._outbox = self._stream, None, None
        self._refresh = False
        self.session.message = None
        self.runs.report()
        if stopped and self._warming is not None:
            # What it has made of callbacks and fragments is not all.
            self._cold, self._warming = True, None
            self._postponed.clear()
        if stream is None:
            return
        stream.keeper = None
        if stream.may_have_lost_snapshot:
            self.take_snapshot()

    def start_restored(self, snapshot: Message) -> None:
        """A session that was in another process; its values are still pickled."""
        pickles = [(entry.key, entry.pickle) for entry in snapshot.values]
        self._is_foreign, self._may_return = snapshot.foreign, snapshot.may_return
        self.session.page_is_foreign = True
        self.runs.any = True
        reading = self._loop.run_in_executor(None, read_values, self.session.id, pickles)
        self._reading = reading
        lost = [Unsaved(key, "unknown", "it took too long to read") for key, _ in pickles]
        limit = self._loop.call_later(_PICKLING_LIMIT, self._on_values, reading, Values({}, lost))

        def done(_: object) -> None:
            limit.cancel()
            self._on_values(reading, reading.result())

        reading.add_done_callback(done)

    def _on_values(self, reading: asyncio.Future[Values], found: Values) -> None:
        if self._reading is not reading or self._over or self.session.is_over:
            return
        self._reading = None
        if found.lost and self._is_foreign:
            self._on_unloadable(found.lost[0])
            return
        streamlit_compat_content.add_values(self.session, found.values)
        for lost in found.lost:
            self._recorder.note_lost(lost)
        if self._notice or self._stream is None:
            # The last run may be what ended the process before; or nobody is there to wait.
            self._cold = True
            self._say_notice()
        else:
            # A run that makes callbacks and fragments work again. It shows what it does only if
            # the browser's page may be behind.
            self.is_muted = not self._opening.refresh
            self._warm_up(self._opened(Reason.RESTORED))
        self._poke()

    def _on_unloadable(self, lost: Unsaved) -> None:
        """What another revision of the app has kept of the session can't be read by this one."""
        stream = self._stream
        if stream is None:
            self._let_go()  # As it came: nobody waits for it.
            return
        afresh = not self._may_return
        unloadable = self._wire.unloadable(key=lost.key, reason=lost.reason, afresh=afresh)
        if not afresh:
            self._over = True
            stream.give_back(unloadable)
            self._end(self.session.id)
            return
        stream.send_unloadable(unloadable)
        streamlit_compat_content.forget_state(self.session)
        self._notice = STATE_OUTDATED
        if self._replay_until:
            self._blank = True
        else:
            self.session.run(ClientState(), self._opened(Reason.RESTORED))
        self._poke()

    def start_resumed(self) -> None:
        """A session that was here all the time."""
        if self._reading is not None:
            return  # It has hardly begun.
        if self._opening.refresh:
            self.session.take_messages()  # Of a run whose beginning may not have arrived.
            self._refresh = True
            if self.session.is_at_rest:
                self.on_rest()
            else:
                self.is_muted = True
                self._loop.call_later(_UNSEEN_LIMIT, self._unseen_for_too_long, self._stream)
            return
        if self.session.is_at_rest:
            self._acknowledge()
            self._say_notice()

    def start_fresh(self, notice: str = "") -> None:
        """A session that has never run."""
        self._notice = notice or self._notice
        if not self._opening.refresh:
            return
        # The browser's page is there already, and doesn't ask for a run by itself.
        self.session.page_is_foreign = True
        if self._replay_until:
            self._blank = True
        else:
            self.session.run(ClientState(), self._opened(Reason.OPENED))

    def admits(self, message: Asked) -> Admission:
        """Whether the browser's next message may be handled now."""
        seq = message.seq
        if (
            # A script that runs on is not waited for by its user, who may be what ends it.
            (self._releasing and self._is_settled)
            or self._pickling is not None
            or self.is_muted
            or self._warming is not None
            or self._reading is not None
        ):
            self._has_backlog = True
            return Admission.WAIT
        if self._has_backlog and self._stream is not None:
            # All at once they would interrupt each other before they have had any effect.
            self._has_backlog = False
            self._replay_until = max(self._replay_until, self._stream.last_received)
            self._wait_for_run()
        if seq and self._connection and seq <= self._handled:
            return Admission.SKIP
        if seq and seq <= self._replay_until:
            if not self.session.is_at_rest and self._loop.time() < self._replay_deadline:
                return Admission.WAIT
            self._wait_for_run()
        self.session.message = message
        return Admission.TAKE

    def on_handled(self, seq: int) -> None:
        """Streamlit has handled the browser's messages up to this one."""
        self.session.message = None
        if self._over:
            return
        if self._postponed:
            self._postponed_seq = seq
            return
        self._handled = max(self._handled, seq)
        if not self._is_settled or self._pickling is not None:
            return
        if self._blank and seq >= self._replay_until:
            self._blank = False
            self.session.run(ClientState(), self._opened(Reason.OPENED))
        elif self.session.changed_at_rest:
            self._take()
        else:
            self._acknowledge()

    # --- Its script (SessionListener) ------------------------------------------------------

    def on_messages(self) -> None:
        """There are messages for the browser."""
        outbox = self._outbox
        if outbox is not None:
            outbox.wake()

    def on_run_over(self) -> None:
        """A run is over, and to be reported once all that it has sent is on its way."""
        if self._outbox is not None:
            self._outbox.wake()
        else:
            self.runs.report()

    def before_run(self, client_state: ClientState | None, asked: Asked) -> bool:
        """The first run of a session that starts cold is put off until it is warm."""
        if self._postponed or self._reading is not None:
            return True  # The one that comes will do.
        if not self._cold:
            return False
        self._cold = False
        if client_state is not None:
            copy = ClientState()
            copy.CopyFrom(client_state)
            client_state = copy
        self._postponed.append((client_state, asked))
        self._postponed_seq = 0
        self.is_muted = True
        self._warm_up(asked._replace(seq=0, reason=Reason.RESTORED))
        return True

    def on_rest(self) -> None:
        """The script has come to rest."""
        self._deliver()
        if self._over or self.session.is_over:
            return
        self.is_muted = self._blank = False
        self._warming = None
        if self._postponed:
            self._run_postponed()
        elif self._refresh and not self._releasing:
            self._refresh = self._cold = False
            self.session.run(self._current_state(), self._opened(Reason.OPENED))
        else:
            self._say_notice()
            self._take()
        self._poke()

    # --- Snapshots -------------------------------------------------------------------------

    def take_snapshot(self) -> None:
        """Send all of the session, as soon as it is at rest."""
        self._full = True
        if self._is_settled and self._pickling is None and not self._over:
            self._take()

    def _take(self) -> None:
        started = time.perf_counter()
        self._pickling = None  # An attempt that is under way is void.
        if self._awaits_uploads():
            # What is handled meanwhile must not be acknowledged without it.
            self.session.changed_at_rest = True
            return
        self.session.changed_at_rest = False
        if not self.session.may_come_back:
            self._forget()
            return
        try:
            content = streamlit_compat_content.read_content(self.session)
            core = content.core.to_bytes()
        except Exception as error:  # noqa: BLE001 - a session must not end for it
            self._failed(error)
            return
        full = self._full
        inline = self._cost < _INLINE_LIMIT if self._cost else is_plain(content.values)
        if inline:
            try:
                changes = self._recorder.compare(content.values, full=full)
            except Exception as error:  # noqa: BLE001
                self._failed(error)
                return
            self._finish(content, core, changes, full=full, cost=time.perf_counter() - started)
            return
        self._attempts += 1
        attempt = self._pickling = self._attempts
        so_far = time.perf_counter() - started
        future = self._loop.run_in_executor(self._thread, self._compare, content, full)
        future.add_done_callback(
            lambda done: self._pickled(attempt, done, content, core, full=full, so_far=so_far)
        )
        self._loop.call_later(_PICKLING_LIMIT, self._overdue, attempt)

    def _awaits_uploads(self) -> bool:
        """Whether files of the session are not stored yet; then a snapshot is made once they are."""
        if self._uploads is None or not self._uploads.is_pending(self.session.id):
            return False
        if self._uploading is None:
            settled = self._uploads.settled(self.session.id)
            self._uploading = self._loop.create_task(settled, name="uploads")
            self._uploading.add_done_callback(self._uploaded)
        return True

    def _uploaded(self, _done: asyncio.Task[None]) -> None:
        self._uploading = None
        if self._is_settled and self._pickling is None and not self._over:
            self._take()

    def _compare(self, content: SessionContent, full: bool) -> tuple[Changes, float]:
        started = time.perf_counter()
        changes = self._recorder.compare(content.values, full=full)
        return changes, time.perf_counter() - started

    def _pickled(
        self,
        attempt: int,
        done: asyncio.Future[tuple[Changes, float]],
        content: SessionContent,
        core: bytes,
        *,
        full: bool,
        so_far: float,
    ) -> None:
        if self._pickling != attempt:
            return  # Given up meanwhile.
        self._pickling = None
        if self._over or self.session.is_over:
            return
        error = done.exception()
        if error is not None:
            self._failed(error)
        else:
            changes, cost = done.result()
            self._finish(content, core, changes, full=full, cost=cost + so_far)
        self._poke()

    def _overdue(self, attempt: int) -> None:
        if self._pickling != attempt:
            return
        self._pickling = None
        Keeper._thread = _pickling_thread()  # The other may never come back.
        self._failed(TimeoutError(f"pickling took longer than {_PICKLING_LIMIT:g} s"))
        self._poke()

    def _finish(
        self, content: SessionContent, core: bytes, changes: Changes, *, full: bool, cost: float
    ) -> None:
        self._cost = cost
        if not self.session.is_at_rest:
            return  # Another run has begun, and will come to rest too.
        unsaved = changes.unsaved + [
            Unsaved(key, type_name(value), f"{type(error).__name__}: {error}")
            for key, value, error in content.unserializable
        ]
        self._recorder.commit(changes)
        core_changed = full or core != self._core
        self._core = core
        if full:
            self._full = False
        if (
            full
            or core_changed
            or changes.changed
            or changes.removed
            or changes.unsaved_changed
            or self._releasing
        ):
            wire = self._wire
            self._send(
                self._snapshot(
                    full=full,
                    core=core if core_changed else b"",
                    changed=[wire.value(key=key, pickle=data) for key, data in changes.changed],
                    removed=changes.removed,
                    unsaved=self._unsaved(unsaved),
                    cost_us=int(cost * 1e6),
                )
            )
        else:
            self._acknowledge()
        if self._full:
            self._take()  # All of it was asked for meanwhile.
        else:
            self._settled()

    def _forget(self) -> None:
        """The user has logged out: nobody is to have the session back."""
        if not self._forgotten:
            self._forgotten = True
            self._send(self._snapshot(forget=True))
        else:
            self._acknowledge()
        self._settled()

    def _failed(self, error: BaseException) -> None:
        """No snapshot of this state; the browser's messages are not to wait for one forever."""
        _LOGGER.error(
            "Session %s can't be kept for when it goes on in another process",
            self.session.id,
            exc_info=error,
        )
        self._full = True  # The next one, if there is one, holds everything.
        everything = Unsaved("", "the whole session", f"{type(error).__name__}: {error}")
        self._send(self._snapshot(unsaved=self._unsaved([everything])))
        self._settled()

    def _snapshot(self, **fields: Any) -> Message:
        return self._wire.snapshot(
            session_id=self.session.id,
            connection=self._connection,
            applied_seq=self._handled,
            trace=self.runs.context,
            **fields,
        )

    def _unsaved(self, unsaved: list[Unsaved]) -> list[Message]:
        return [
            self._wire.unsaved(key=entry.key, type=entry.type, reason=entry.reason)
            for entry in unsaved
        ]

    def _report(self, run: Message) -> None:
        if self._stream is not None and not self._stream.is_closed:
            # A browser that has its answer may be gone before the report is on its way.
            self._stream.send_report(run, lambda: self._tell(run=run))
        else:
            self._tell(run=run)

    def _send(self, snapshot: Message) -> None:
        if self._stream is not None and not self._stream.is_closed and not self._ending:
            self._stream.send_snapshot(snapshot)
        else:
            self._tell(snapshot=snapshot)

    def _acknowledge(self) -> None:
        self._deliver()
        if self._stream is not None and not self._stream.is_closed and not self._ending:
            # Also when there is nothing to acknowledge: it says that the session is at rest.
            self._stream.send_applied(self._handled)
        elif self._handled:
            self._tell(snapshot=self._snapshot())

    # --- Its end here ----------------------------------------------------------------------

    def release(self, *, now: bool, only_at_rest: bool = False) -> None:
        """Give the session up once at rest, or as of its last rest, and send word of it."""
        if self._over or (only_at_rest and not self._is_settled):
            return
        self._releasing = True
        if self._cold or self._postponed or self._reading is not None:
            # Not run yet, so as it came; the message that it would have run for is not handled.
            self._let_go()
        elif not self.session.is_at_rest:
            if now:
                self._let_go()
        elif self._pickling is None:
            self._take()

    def prepare_for_end(self) -> None:
        """The process is about to end: what the browser was shown last is to be kept."""
        self._ending = True
        if self._stream is not None:
            # What was sent by it may not have been read.
            self.take_snapshot()

    @property
    def is_kept(self) -> bool:
        """Whether the runner has been sent all of the session."""
        return self._over or (
            self._is_settled and self._pickling is None and self._uploading is None
        )

    def close(self) -> None:
        """The session has ended."""
        self._over = True
        self._stream = self._outbox = None
        self.session.listener = None

    def _settled(self) -> None:
        if self._releasing:
            self._let_go()

    def _let_go(self) -> None:
        if self._over:
            return
        self._over = True
        stream, session_id = self._stream, self.session.id
        released = self._wire.released(session_id=session_id)
        if stream is not None and not stream.is_closed:
            stream.release(released)
        else:
            self._tell(released=released)
        self._end(session_id)

    # --- Odds and ends ---------------------------------------------------------------------

    @property
    def _is_settled(self) -> bool:
        """Whether the session is at rest, with all that belongs to it."""
        return self.session.is_at_rest and self._reading is None

    @property
    def _opening(self) -> Opening:
        assert self._stream is not None
        return self._stream.opening

    def _current_state(self) -> ClientState:
        try:
            return streamlit_compat_content.current_client_state(self.session)
        except Exception:  # For one, a script that is running may be changing it.
            _LOGGER.exception("Session %s is run as if its page were new", self.session.id)
            return ClientState()

    def _opened(self, reason: Reason) -> Asked:
        """What a run is for that follows from the opening of the browser's connection."""
        if self._stream is None:
            return Asked(at_us=now_us(), reason=reason)
        opening = self._stream.opening
        return Asked(opening.trace, at_us=opening.at_us, reason=reason)

    def _warm_up(self, asked: Asked) -> None:
        self._warming = self._current_state()
        self._loop.call_soon_threadsafe(self._limit_unseen)
        self.session.run(self._warming, asked)

    def _run_postponed(self) -> None:
        self._handled = max(self._handled, self._postponed_seq)
        self.session.run_for(*self._postponed.pop())

    def _limit_unseen(self) -> None:
        self._loop.call_later(_UNSEEN_LIMIT, self._unseen_for_too_long, self._stream)

    def _unseen_for_too_long(self, stream: WebSocketStream | None) -> None:
        """A script that doesn't end, as some do on purpose: show it from its beginning."""
        if stream is not self._stream or not (self.is_muted or self._warming is not None):
            return
        state, self._warming = self._warming, None
        was_muted, self.is_muted, self._refresh = self.is_muted, False, False
        self._poke()
        if self._postponed:
            self._run_postponed()
        elif was_muted:
            reason = Reason.OPENED if state is None else Reason.RESTORED
            self.session.run(state or self._current_state(), self._opened(reason))

    def _wait_for_run(self) -> None:
        """Let repeated messages wait for the script from now on."""
        if self._replay_until:
            self._replay_deadline = self._loop.time() + _REPLAY_LIMIT
            self._loop.call_later(_REPLAY_LIMIT, self._poke)

    def _say_notice(self) -> None:
        notice, self._notice = self._notice, ""
        if notice:
            try:
                self.session.show_notice(notice)
            except Exception:
                _LOGGER.exception("Session %s was not told: %s", self.session.id, notice)
            self._deliver()

    def _deliver(self) -> None:
        if self._outbox is not None:
            self._outbox.flush()
        else:
            self.runs.report()

    def _poke(self) -> None:
        if self._stream is not None:
            self._stream.poke()
