"""A worker's inside in this process: the real app, runtime and sessions. The test is the runner.

`Worker` hosts an app, `Browser` is a tab that shows it, and `Store` keeps what the worker wants
kept of a session, as the runner does.
"""

import asyncio
import contextlib
import sys
import threading
from types import SimpleNamespace

from protos import wire as make_wire
from streamfleet_worker import streamlit_compat
from streamfleet_worker.app import build_app
from streamfleet_worker.control import Control
from streamfleet_worker.lifespan import Lifespan
from streamfleet_worker.stream import StreamConnection
from streamfleet_worker.wire import FrameSplitter, frame
from streamlit import config
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.runtime import Runtime

LIMIT = 20


def run(scenario):
    """Run a test's coroutine, with a limit; scripts replace `__main__`, which pytest needs."""
    main = sys.modules["__main__"]
    try:
        return asyncio.run(asyncio.wait_for(scenario, 60))
    finally:
        sys.modules["__main__"] = main


async def poll(condition, limit=LIMIT):
    """Wait for something that sends nothing."""
    end = asyncio.get_running_loop().time() + limit
    while not (found := condition()):
        assert asyncio.get_running_loop().time() < end, "it did not come to pass"
        await asyncio.sleep(0.001)
    return found


class Inbox:
    """What has come, and waiting for what is to come."""

    def __init__(self):
        self.events = []
        self._arrival = asyncio.Event()

    def put(self, event):
        self.events.append(event)
        self._arrival.set()

    async def until(self, condition, limit=LIMIT):
        """Wait until `condition()` is true, and return what it gives."""
        async with asyncio.timeout(limit) if sys.version_info >= (3, 11) else _no_limit():
            while not (found := condition()):
                self._arrival.clear()
                await self._arrival.wait()
            return found

    async def event(self, kind, after=0, limit=LIMIT):
        """The first event of this kind after so many."""

        def find():
            return next((e for e in self.events[after:] if e.WhichOneof("kind") == kind), None)

        return getattr(await self.until(find, limit), kind)

    def kinds(self, *wanted):
        return [
            e.WhichOneof("kind")
            for e in self.events
            if not wanted or e.WhichOneof("kind") in wanted
        ]


@contextlib.asynccontextmanager
async def _no_limit():
    yield


class Transport:
    """A socket whose other side is a list."""

    def __init__(self, protocol, parse, inbox):
        self.protocol, self.parse, self.inbox = protocol, parse, inbox
        self.closed = False
        self._splitter = FrameSplitter()

    def write(self, data):
        for part in self._splitter.feed(data):
            self.inbox.put(self.parse(part))

    def writelines(self, pieces):
        self.write(b"".join(pieces))

    def close(self):
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close

    def is_closing(self):
        return self.closed

    def get_write_buffer_size(self):
        return 0

    def pause_reading(self):
        pass

    resume_reading = pause_reading


class Worker:
    """Hosts one app."""

    def __init__(self, wire, control, app, inbox):
        self.wire, self.control, self.app = wire, control, app
        # Events on the control connection.
        self.inbox = inbox
        self.state = {}

    def request(self, **kind):
        """Send a request on the control connection."""
        self.control.data_received(frame(self.wire._control_request(**kind)))

    def ask(self, kind, **fields):
        request = self.wire._control_request()
        getattr(request, kind).SetInParent()
        for name, value in fields.items():
            setattr(getattr(request, kind), name, value)
        self.control.data_received(frame(request))

    @property
    def sessions(self):
        return Runtime.instance()._session_mgr

    def session(self, session_id):
        info = self.sessions.get_session_info(session_id)
        return None if info is None else info.session

    def keeper(self, session_id):
        return self.sessions.events.keepers[session_id]

    def values(self, session_id):
        """What the script sees in `st.session_state`."""
        return self.session(session_id).session_state.filtered_state


@contextlib.asynccontextmanager
async def worker(script, flags=(), **init):
    """Host the script at this path; `init` are fields of worker.proto's `Init`."""
    Runtime._instance = None
    wire = make_wire()
    streamlit_compat.load_options(str(script), list(flags))
    for name, value in {
        "runner.postScriptGC": False,
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": False,
    }.items():
        config.set_option(name, value)
    inbox = Inbox()
    control = Control(wire)
    control.connection_made(Transport(control, wire.control_event.FromString, inbox))
    fields = {
        "script_path": str(script),
        "max_snapshot_bytes": 0,
        "run_timeout_ms": 0,
        "max_concurrent_runs": 0,
        "calls_path": "",
        "cache_stamps_path": "",
        "max_cached_value_bytes": 0,
        **init,
    }
    app = build_app(wire, control, str(script), SimpleNamespace(**fields))
    lifespan = Lifespan(app)
    await lifespan.startup()
    try:
        yield Worker(wire, control, app, inbox)
    finally:
        for task in Runtime.instance()._session_mgr.events.background:
            task.cancel()
        await lifespan.shutdown()
        # Scripts ask for the runtime to their end.
        await poll(
            lambda: not any("scriptThread" in thread.name for thread in threading.enumerate())
        )
        Runtime._instance = None
        config.get_config_options(force_reparse=True)


class Store:
    """Keeps a session's snapshots as the runner does."""

    def __init__(self):
        self.core = b""
        self.values = {}
        self.unsaved = {}
        self.forgotten = False
        self.applied = 0
        self.snapshots = []

    def apply(self, snapshot):
        self.snapshots.append(snapshot)
        self.applied = snapshot.applied_seq
        if snapshot.forget:
            self.forgotten = True
            return
        if snapshot.full:
            self.values.clear()
        if snapshot.core:
            self.core = snapshot.core
        for key in snapshot.removed:
            del self.values[key]
        for value in snapshot.changed:
            self.values[value.key] = value.pickle
        self.unsaved = {entry.key: entry for entry in snapshot.unsaved}

    def plain(self):
        """For another process."""
        return {"core": self.core, "values": dict(self.values)}

    @property
    def keys(self):
        """Keys in the last snapshot."""
        return sorted(value.key for value in self.snapshots[-1].changed)


class Browser:
    """A tab: its widgets, and the connection that the runner opened for it."""

    def __init__(self, worker, session_id="11111111-1111-4111-8111-111111111111"):
        self.worker = worker
        self.session_id = session_id
        self.store = Store()
        self.widgets = {}
        self.page = ""
        self.query = ""
        self.number = 1
        self.seq = 0
        self.messages = []
        # What the runs were.
        self.runs = []
        # The trace that what is sent belongs to.
        self.trace = b""
        self.inbox = None

    # --- connection -----------------------------------------------------------------------

    async def open(self, *, restore=None, headers=(), bound=True, **fields):
        """Connect; `fields` are those of worker.proto's `Open`."""
        request = self.worker.wire._stream_request()
        opening = request.open
        opening.websocket = True
        opening.session_id = self.session_id
        opening.connection = self.number
        opening.trace = self.trace
        opening.head.method, opening.head.raw_path = "GET", b"/_stcore/stream"
        opening.head.scheme, opening.head.http_version = "http", "1.1"
        for name, value in headers:
            opening.head.headers.add(name=name, value=value)
        for name, value in fields.items():
            setattr(opening, name, value)
        if restore is not None:
            opening.restore.core = restore["core"]
            opening.restore.foreign = restore.get("foreign", False)
            opening.restore.may_return = restore.get("may_return", False)
            for key, data in restore["values"].items():
                opening.restore.values.add(key=key, pickle=data)
        self.inbox = Inbox()
        self.seen = 0
        stream = self.worker.wire.stream_event
        self.stream = StreamConnection(self.worker.wire, self.worker.app, self.worker.state)
        self.transport = Transport(self.stream, stream.FromString, self.inbox)
        self.transport.inbox = self
        self.stream.connection_made(self.transport)
        self.stream.data_received(frame(request))
        if bound:
            self.session_id = (await self.inbox.event("bound")).session_id
        return self

    def put(self, event):
        """Take in what the worker sends."""
        kind = event.WhichOneof("kind")
        if kind == "batch":
            self.messages += [ForwardMsg.FromString(data) for data in event.batch.messages]
        elif kind == "snapshot":
            self.store.apply(event.snapshot)
        elif kind == "run":
            self.runs.append(event.run)
        elif kind == "applied_seq":
            self.store.applied = event.applied_seq
        self.inbox.put(event)

    def send(self, back_msg, seq=None):
        if seq is None:
            self.seq += 1
            seq = self.seq
        request = self.worker.wire._stream_request()
        request.frame.payload = back_msg.SerializeToString()
        request.frame.seq = seq
        request.frame.trace = self.trace
        self.stream.data_received(frame(request))
        return seq

    def leave(self):
        """Close the tab."""
        request = self.worker.wire._stream_request()
        request.close.code = 1001
        self.stream.data_received(frame(request))

    def lose(self):
        """The stream breaks."""
        self.transport.close()

    # --- messages -------------------------------------------------------------------------

    def rerun_message(self, *triggers, fragment=""):
        message = BackMsg()
        state = message.rerun_script
        state.query_string, state.page_script_hash = self.query, self.page
        state.fragment_id = fragment
        state.context_info.timezone = "Europe/Berlin"
        state.widget_states.widgets.extend(self.widgets.values())
        for trigger in triggers:
            state.widget_states.widgets.append(WidgetState(id=trigger, trigger_value=True))
        return message

    async def rerun(self, *triggers, fragment="", wait=True):
        """Have the script run, and wait for the word that the message has had its effect."""
        seq = self.send(self.rerun_message(*triggers, fragment=fragment))
        if wait:
            await self.applied(seq)
        return seq

    async def applied(self, seq):
        await self.inbox.until(lambda: self.store.applied >= seq)

    async def click(self, label, **options):
        return await self.rerun(self.id(label), **options)

    def set(self, label, **value):
        """Enter something; `value` is the field of Streamlit's `WidgetState`."""
        widget = self.id(label)
        state = WidgetState(id=widget)
        for name, content in value.items():
            if isinstance(content, list):
                getattr(state, name).data.extend(content)
            else:
                setattr(state, name, content)
        self.widgets[widget] = state

    # --- the page -------------------------------------------------------------------------

    def elements(self):
        for message in self.messages:
            if message.WhichOneof("type") == "delta":
                element = message.delta.new_element
                kind = element.WhichOneof("type")
                if kind is not None:
                    yield kind, getattr(element, kind), message.delta.fragment_id

    def id(self, label):
        """The id of the latest widget with this label."""
        return next(
            element.id
            for _, element, _ in reversed(list(self.elements()))
            if getattr(element, "label", None) == label
        )

    def fragment(self, label):
        return next(
            fragment
            for _, element, fragment in reversed(list(self.elements()))
            if getattr(element, "label", None) == label
        )

    def texts(self):
        """The texts since the last run began."""
        starts = [
            at
            for at, message in enumerate(self.messages)
            if message.WhichOneof("type") == "new_session"
            and b"streamfleet-notice" not in message.SerializeToString()
        ]
        page, self.messages = self.messages, self.messages[starts[-1] if starts else 0 :]
        found = [element.body for kind, element, _ in self.elements() if kind == "text"]
        self.messages = page
        return found

    def toasts(self):
        return [element.body for kind, element, _ in self.elements() if kind == "toast"]

    def kinds(self):
        return [message.WhichOneof("type") for message in self.messages]
