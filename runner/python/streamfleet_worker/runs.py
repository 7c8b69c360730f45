"""What each run of a session's script was: who asked for it, what it did when, and how it ended.

Who asks for a run says so on the event loop. The script's thread notes the run's parts. What it
has sent is counted where batches are made, and its report follows the last of them, so that the
runner hears of runs in the order in which the browser sees them.

A *context* is what worker.proto's `Frame.trace` describes: a trace's id, a span's, and flags.
"""

from __future__ import annotations

import enum
import random
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from streamlit.runtime.scriptrunner import get_script_run_ctx

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
    from streamlit.runtime.scriptrunner import ScriptRunContext, ScriptRunner

    from streamfleet_worker.wire import Message, Wire

# Of a context, in bytes; and where in it the span's id is.
_CONTEXT_SIZE: Final = 25
_SPAN: Final = slice(16, 24)
# A shorter compilation found the code in memory, and shorter callbacks were none; in microseconds.
_WORTH_TELLING: Final = 100
# Runs in a row that the script asks for by itself, as with `st.rerun`, and that still belong to the
# trace of what the user did. A script that polls this way makes no endless trace.
_MAX_FOLLOWERS: Final = 8
# What is kept with Streamlit's objects, by name: at a script's context its run, and at a
# `ScriptRunner` what its next run is for, in a list until it has begun, and the run that isn't over.
_RUN: Final = "streamfleet_run"
_ASKED: Final = "streamfleet_asked"

# Draws spans' ids. Not the system's: asking that hands the interpreter to another thread. And not
# the module's own, which apps seed.
_draw: Final = random.Random(random.SystemRandom().getrandbits(128)).getrandbits  # noqa: S311


class Reason(enum.IntEnum):
    """`RunReason` of worker.proto."""

    OPENED = 1
    INTERACTION = 2
    FRAGMENT = 3
    APP = 4
    RESTORED = 5


class Outcome(enum.IntEnum):
    """`RunOutcome` of worker.proto."""

    FINISHED = 1
    EXCEPTION = 2
    COMPILE_ERROR = 3
    STOPPED = 4
    RERUN = 5


class Phase(enum.IntEnum):
    """`RunPhaseKind` of worker.proto."""

    COMPILE = 1
    CALLBACKS = 2
    BODY = 3
    FRAGMENT = 4


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


class Asked(NamedTuple):
    """What a run is for."""

    # The context of whoever asked; empty if there is none.
    trace: bytes = b""
    # The browser's message; 0 for none.
    seq: int = 0
    # When it was asked for; 0 for when it began.
    at_us: int = 0
    reason: Reason = Reason.APP


class Run:
    """One run. Noted on its script's thread until it is over, and then on the event loop."""

    # Most of it is as here in most runs.
    span_id = context = b""
    page = exception_type = ""
    outcome = Outcome.FINISHED
    # An exception that the script let pass was shown to its user.
    has_failed = False
    body_ended_at_us = ended_at_us = 0
    cache_hits = 0
    # Runs in a row that the script has asked for by itself, up to this one.
    followers = 0
    # What is to be undone at its end.
    token: Any = None
    # The browser has been told that it began.
    is_announced = False
    messages = message_bytes = 0
    first_message_at_us = last_message_at_us = 0

    def __init__(self, session_id: str, asked: Asked, *, of_fragments: bool) -> None:
        """It begins now."""
        self.session_id = session_id
        self.asked = asked
        self.is_of_fragments = of_fragments
        self.started_at_us = self.body_from_us = now_us()
        self.phases: list[tuple[Phase, str, int, int]] = []
        trace = asked.trace
        if len(trace) == _CONTEXT_SIZE:
            self.span_id = _draw(64).to_bytes(8, "big")
            self.context = trace[: _SPAN.start] + self.span_id + trace[_SPAN.stop :]

    def compiled(self, since_us: int) -> None:
        """The script is compiled."""
        self._before_body(Phase.COMPILE, since_us)

    def called_back(self, since_us: int) -> None:
        """The page's values have been taken over, and widgets' callbacks called."""
        self._before_body(Phase.CALLBACKS, since_us)

    def _before_body(self, phase: Phase, since_us: int) -> None:
        self.body_from_us = now = now_us()
        if now - since_us >= _WORTH_TELLING:
            self.phases.append((phase, "", since_us, now))

    def ran_fragment(self, name: str, since_us: int) -> None:
        """A fragment has been run by itself."""
        self.phases.append((Phase.FRAGMENT, name, since_us, now_us()))

    def completed(self) -> None:
        """The script has come to its end."""
        self.body_ended_at_us = now_us()

    @property
    def is_complete(self) -> bool:
        """Whether the script has come to its end."""
        return self.body_ended_at_us != 0

    def showed(self, exception_type: str, *, failed: bool) -> None:
        """The user is shown an exception; `failed` if the script has let it pass."""
        if failed or not self.has_failed:
            self.exception_type = exception_type
        self.has_failed = self.has_failed or failed

    def end(self, outcome: Outcome, page: str) -> None:
        """It ends now."""
        self.ended_at_us = now_us()
        self.outcome = outcome
        self.page = page
        if not self.is_of_fragments and outcome != Outcome.COMPILE_ERROR:
            until = self.body_ended_at_us or self.ended_at_us
            self.phases.append((Phase.BODY, "", self.body_from_us, until))

    def sent(self, messages: int, size: int, now: int) -> None:
        """Messages of it are on their way."""
        self.messages += messages
        self.message_bytes += size
        self.first_message_at_us = self.first_message_at_us or now
        self.last_message_at_us = now


def current() -> Run | None:
    """The run that this thread belongs to, as `add_script_run_ctx` lets others belong to it too."""
    ctx = get_script_run_ctx(suppress_warning=True)
    return None if ctx is None else getattr(ctx, _RUN, None)


def current_context() -> bytes:
    """The context of the run that this thread belongs to; empty if there is none."""
    run = current()
    return b"" if run is None else run.context


def belonging() -> tuple[str, bytes]:
    """The session that this thread belongs to, and its run's context; empty if there is none."""
    ctx = get_script_run_ctx(suppress_warning=True)
    if ctx is None:
        return "", b""
    run: Run | None = getattr(ctx, _RUN, None)
    return ctx.session_id, b"" if run is None else run.context


class SessionRuns:
    """The runs of one session."""

    def __init__(self, wire: Wire, session_id: str, send: Callable[[Message], None]) -> None:
        """Send reports by `send`."""
        # A run has been asked for.
        self.any = False
        # The context of the run whose state the session has.
        self.context = b""
        # What the runner's first run is for that is just being made.
        self.first: list[Asked] = []
        self._wire = wire
        self._session_id = session_id
        self._send = send
        # Those whose messages the next batch may have.
        self._sending: list[Run] = []
        # Those not reported yet.
        self._over: list[Run] = []

    # --- who asks ---------------------------------------------------------------------------

    def ask(self, runner: ScriptRunner, asked: Asked) -> None:
        """The runner's next run is for this, and for what it was for."""
        earlier: list[Asked] = getattr(runner, _ASKED, [])
        for other in earlier:
            if other.seq > asked.seq:
                asked = asked._replace(seq=other.seq) if asked.seq else other
        setattr(runner, _ASKED, [asked])

    def leave(self, runner: ScriptRunner) -> None:
        """The runner is not going to run for it."""
        setattr(runner, _ASKED, [])

    def ask_new(self, asked: Asked) -> None:
        """A runner is made for this. Its thread may run before `made` is called: see `begin`."""
        self.first = [asked]

    def made(self, runner: ScriptRunner) -> None:
        """This is the runner."""
        # In this order: whoever doesn't find the one finds the other. Both are the same list, out
        # of which it is taken once.
        setattr(runner, _ASKED, self.first)
        self.first = []

    # --- on the script's thread -------------------------------------------------------------

    def begin(
        self,
        runner: ScriptRunner,
        ctx: ScriptRunContext,
        first: list[Asked],
        *,
        of_fragments: bool,
    ) -> Run:
        """A run begins. `first` was looked up before, if the runner may be the one just being made."""
        before: Run | None = getattr(ctx, _RUN, None)
        asks: list[Asked] = getattr(runner, _ASKED, first if before is None else [])
        followers = 0
        try:
            asked = asks.pop()
        except IndexError:
            asked = Asked()
            if before is not None and before.followers < _MAX_FOLLOWERS:
                asked = Asked(before.asked.trace)
                followers = before.followers + 1
        if of_fragments and asked.reason == Reason.INTERACTION:
            asked = asked._replace(reason=Reason.FRAGMENT)
        run = Run(self._session_id, asked, of_fragments=of_fragments)
        run.followers = followers
        setattr(runner, _RUN, run)
        setattr(ctx, _RUN, run)
        return run

    @staticmethod
    def take(runner: ScriptRunner) -> Run | None:
        """The runner's run that isn't over, to be ended. Callable from any thread."""
        run: Run | None = getattr(runner, _RUN, None)
        setattr(runner, _RUN, None)
        return run

    # --- on the event loop ------------------------------------------------------------------

    def began(self, run: Run) -> None:
        """What is sent from now on is the run's."""
        self._sending.append(run)

    def over(self, run: Run, *, superseded: bool) -> None:
        """The run is over, up to what has not been sent yet."""
        if not superseded:
            self.context = run.context
        elif run.outcome == Outcome.STOPPED:
            run.outcome = Outcome.RERUN
        self._over.append(run)

    def sent(self, messages: Sequence[ForwardMsg], batch: Sequence[bytes]) -> None:
        """These messages are on their way, in this form; or in none if nobody is to see them."""
        sending = self._sending
        if not sending:
            return
        now = now_us()
        if len(sending) == 1:
            sending[0].is_announced = True
            if batch:
                sending[0].sent(len(batch), sum(map(len, batch)), now)
            return
        at = 0
        for index, message in enumerate(messages):
            if message.WhichOneof("type") == "new_session":
                if sending[at].is_announced and at + 1 < len(sending):
                    at += 1
                sending[at].is_announced = True
            if batch:
                sending[at].sent(1, len(batch[index]), now)
        # The last one's messages follow all of the others'.
        del sending[:-1]

    def report(self) -> None:
        """Send word of what is over. To be called when all that there was has been sent."""
        over, self._over = self._over, []
        for run in over:
            if run in self._sending:
                self._sending.remove(run)
            self._send(self._message(run))

    def _message(self, run: Run) -> Message:
        # Field by field: half as long as by keywords.
        report, asked = self._wire.run_report(), run.asked
        report.session_id = run.session_id
        report.page = run.page
        report.reason = asked.reason
        report.outcome = run.outcome
        report.asked_at_us = asked.at_us or run.started_at_us
        report.started_at_us = run.started_at_us
        report.ended_at_us = run.ended_at_us
        if run.span_id:
            report.trace = asked.trace
            report.span_id = run.span_id
        if asked.seq:
            report.seq = asked.seq
        if run.exception_type:
            report.exception_type = run.exception_type
        if run.cache_hits:
            report.cache_hits = run.cache_hits
        if run.messages:
            report.messages = run.messages
            report.message_bytes = run.message_bytes
            report.first_message_at_us = run.first_message_at_us
            report.last_message_at_us = run.last_message_at_us
        for kind, name, since, until in run.phases:
            phase = report.phases.add()
            phase.kind = kind
            phase.started_at_us = since
            phase.ended_at_us = until
            if name:
                phase.name = name
        return report
