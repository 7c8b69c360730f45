"""Snapshots of sessions, made by a real Streamlit in this process."""

import inspect

import pytest
from fleet import Browser, poll, run, worker
from streamfleet_worker import keeper as keeper_module
from streamfleet_worker import streamlit_compat, streamlit_compat_content
from streamfleet_worker.core import Core
from streamfleet_worker.values import load
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.state.common import WidgetMetadata

COUNTER = """
if "n" not in st.session_state:
    st.session_state.n = 0
if st.button("Add"):
    st.session_state.n += 1
st.text(st.session_state.n)
"""


def heartbeat():
    message = BackMsg()
    message.app_heartbeat = True
    return message


def widget_values(store):
    """Values by the key of their widget, and `None` for all without."""
    core = Core.from_bytes(store.core)
    keys = {element: key for key, element in core.ids.items()}
    return {
        keys.get(proto.id): getattr(proto, proto.WhichOneof("value"))
        for proto in core.client_state.widget_states.widgets
    }


def test_a_counter(app):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            first = tab.store.snapshots[-1]
            assert first.full
            assert first.core
            assert tab.store.keys == ["n"]
            assert first.applied_seq == 1
            assert first.connection == 1
            assert first.session_id == tab.session_id
            assert first.cost_us > 0
            await tab.click("Add")
            second = tab.store.snapshots[-1]
            assert not second.full
            assert not second.core, "what Streamlit has is the same"
            assert load(tab.store.values["n"]) == 1
            assert tab.texts() == ["1"]
            # A run that changes nothing is no snapshot, but is told.
            await tab.rerun()
            assert len(tab.store.snapshots) == 2
            assert tab.store.applied == 3

    run(scenario())


def test_a_snapshot_follows_all_that_the_run_has_sent(app):
    script = app(COUNTER + "for i in range(200): st.text(i)")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            for _ in range(3):
                before = len(tab.inbox.events)
                await tab.click("Add") if tab.messages else await tab.rerun()
                kinds = tab.inbox.kinds()[before:]
                assert kinds[-1] == "snapshot"
                assert tab.kinds()[-2:] == ["script_finished", "session_status_changed"]

    run(scenario())


def test_messages_that_cause_no_run(app):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            taken = len(tab.store.snapshots)
            await tab.applied(tab.send(heartbeat()))
            assert tab.inbox.kinds()[-1] == "applied_seq"
            # A fragment that there isn't: Streamlit ignores it.
            await tab.rerun(fragment="gone")
            assert len(tab.store.snapshots) == taken
            # Streamlit clears the session's state as well.
            message = BackMsg()
            message.clear_cache = True
            await tab.applied(tab.send(message))
            assert tab.store.values == {}
            assert list(tab.store.snapshots[-1].removed) == ["n"]
            message = BackMsg()
            message.set_run_on_save = True
            await tab.applied(tab.send(message))
            assert Core.from_bytes(tab.store.core).run_on_save

    run(scenario())


@pytest.mark.parametrize(
    "end",
    [
        "1 / 0",
        "st.stop()",
        "st.rerun() if st.session_state.n < 5 else None",
        "this is no python",
        "import time; time.sleep(0.05)",
        "st.session_state.lock = __import__('threading').Lock()",
        "raise SystemExit",
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_no_message_stays_without_an_answer(app, end):
    script = app("st.session_state.n = st.session_state.get('n', 0) + 1\n" + end)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            for _ in range(3):
                tab.send(tab.rerun_message())
                tab.send(heartbeat())
            await tab.applied(tab.send(heartbeat()))
            await tab.rerun()

    run(scenario())


def test_a_failure_of_ours_is_told_and_holds_nothing_up(app, monkeypatch):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            with monkeypatch.context() as patch:
                patch.setattr(streamlit_compat_content, "read_content", lambda _: 1 / 0)
                await tab.rerun()
            (unsaved,) = tab.store.unsaved.values()
            assert "ZeroDivisionError" in unsaved.reason
            await tab.click("Add")
            assert tab.store.snapshots[-1].full
            assert tab.store.unsaved == {}

    run(scenario())


def test_widgets_by_their_value_in_effect(app):
    script = app("""
import datetime
def clear():
    st.session_state.text = ""
    st.session_state.cleared = True
st.text_input("Text", key="text")
st.slider("Slider", 0, 10, 3, key="slider")
st.selectbox("Box", ["a", "b"], key="box")
st.multiselect("Several", ["a", "b", "c"], key="several")
st.date_input("Day", datetime.date(2026, 1, 2), key="day")
st.checkbox("Check")
st.button("Clear", on_click=clear, key="button")
st.chat_input("Chat", key="chat")
if st.button("Set"):
    st.session_state.later = 1
""")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            values = widget_values(tab.store)
            assert values.keys() == {"text", "slider", "box", "several", "day", None}
            assert values["text"] == ""
            assert list(values["slider"].data) == [3]
            assert list(tab.store.values) == []

            tab.set("Text", string_value="typed")
            tab.set("Slider", double_array_value=[7])
            tab.set("Several", string_array_value=["a", "c"])
            await tab.rerun()
            values = widget_values(tab.store)
            assert values["text"] == "typed"
            assert list(values["slider"].data) == [7]
            assert list(values["several"].data) == ["a", "c"]

            # The script has set what the user had typed.
            await tab.click("Clear")
            assert widget_values(tab.store)["text"] == ""
            assert list(tab.store.values) == ["cleared"]
            # The page has adopted it.
            tab.set("Text", string_value="")
            await tab.click("Set")
            assert widget_values(tab.store)["text"] == ""
            assert sorted(tab.store.values) == ["cleared", "later"]

    run(scenario())


def test_a_value_kept_alive_for_a_widget_of_another_page(app):
    script = app(
        """
pg = st.navigation([st.Page("one.py"), st.Page("two.py")])
pg.run()
""",
        one='st.text_input("Text", key="text")\nst.text("one")',
        two="""
for key in list(st.session_state):
    st.session_state[key] = st.session_state[key]
st.text(st.session_state.get("text"))
""",
    )

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            tab.set("Text", string_value="typed")
            await tab.rerun()
            assert widget_values(tab.store) == {"text": "typed"}
            assert tab.store.values == {}
            pages = next(m for m in reversed(tab.messages) if m.WhichOneof("type") == "navigation")
            tab.page = pages.navigation.app_pages[1].page_script_hash
            await tab.rerun()
            await tab.rerun()
            assert Core.from_bytes(tab.store.core).client_state.page_script_hash == tab.page

    run(scenario())


@pytest.mark.skipif(
    "disabled" not in inspect.signature(WidgetMetadata).parameters,
    reason="this Streamlit takes values of disabled widgets from browsers",
)
def test_a_disabled_widget_keeps_its_value(app):
    script = app("""
st.checkbox("Off", key="off")
st.text_input("Text", key="text", disabled=st.session_state.off)
""")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            tab.set("Text", string_value="typed")
            await tab.rerun()
            assert tab.store.values == {}
            tab.set("Off", bool_value=True)
            await tab.rerun()
            assert list(map(load, tab.store.values.values())) == ["typed"]

    run(scenario())


def test_many_kinds_of_values(app):
    script = app("""
import dataclasses, datetime, enum, functools, io, threading
import numpy as np, pandas as pd
@dataclasses.dataclass
class Point:
    x: int = 1
class Colour(enum.Enum):
    RED = 1
class Grumpy:
    def __reduce__(self):
        raise ValueError("I don't want to")
def gen():
    yield 1
if "done" not in st.session_state:
    s = st.session_state
    s.done = True
    s.number, s.text, s.nested = 1, "a", {"a": [1, (2, {3})]}
    s.loop = []
    s.loop.append(s.loop)
    s.point, s.colour, s.kind = Point(), Colour.RED, Point
    s.lam = lambda x: x + 1
    s.part = functools.partial(int, "7")
    s.frame, s.array = pd.DataFrame({"a": ["x"] * 1000}), np.zeros(1000)
    s.when, s.froz = datetime.datetime.now(), frozenset({1})
    s.lock, s.gen, s.file, s.grumpy = threading.Lock(), gen(), open(__file__), Grumpy()
    s.local = threading.local()
up = st.file_uploader("File", key="up")
if up is not None:
    st.session_state.uploaded = up
    st.text(up.name)
st.button("Again")
""")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            assert sorted(tab.store.unsaved) == ["file", "gen", "grumpy", "local", "lock"]
            assert tab.store.unsaved["grumpy"].type == "__main__.Grumpy"
            assert tab.store.unsaved["grumpy"].reason == "ValueError: I don't want to"
            kept = set(tab.store.values)
            assert {"point", "colour", "kind", "lam", "part", "frame", "loop"} <= kept
            assert load(tab.store.values["lam"])(1) == 2
            # Pickling a class for the first time leaves something in it.
            await tab.click("Again")
            taken = len(tab.store.snapshots)
            await tab.click("Again")
            assert len(tab.store.snapshots) == taken, "nothing has changed"

    run(scenario())


def test_an_uploaded_file(app):
    script = app("""
up = st.file_uploader("File", key="up")
if up is not None:
    st.session_state.mine = up
    st.text(up.getvalue().decode())
""")

    async def scenario():
        from streamlit.proto.Common_pb2 import UploadedFileInfo
        from streamlit.runtime.uploaded_file_manager import UploadedFileRec

        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            uploads = streamlit_compat_content.uploaded_files_of(host.sessions)
            uploads.add_file(tab.session_id, UploadedFileRec("f1", "a.txt", "text/plain", b"hi"))
            tab.set("File")
            state = tab.widgets[tab.id("File")].file_uploader_state_value
            state.uploaded_file_info.append(UploadedFileInfo(file_id="f1", name="a.txt", size=2))
            await tab.rerun()
            assert tab.texts() == ["hi"]
            assert load(tab.store.values["mine"]).getvalue() == b"hi"
            files = widget_values(tab.store)["up"].uploaded_file_info
            assert [info.file_id for info in files] == ["f1"]

    run(scenario())


def test_large_values_are_pickled_elsewhere_and_messages_wait(app):
    script = app("""
import time
class Slow:
    def __reduce__(self):
        time.sleep(0.05)
        return str, ("a",)
if "slow" not in st.session_state:
    st.session_state.slow = Slow()
    st.session_state.n = 0
st.session_state.n += 1
st.text(st.session_state.n)
""")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            keeper = host.keeper(tab.session_id)
            assert keeper._cost > keeper_module._INLINE_LIMIT
            admitted = []
            original = keeper.admits

            def admits(seq):
                admission = original(seq)
                admitted.append((admission.name, keeper._pickling is not None))
                return admission

            keeper.admits = admits
            for _ in range(5):
                tab.send(tab.rerun_message())
                await poll(lambda: keeper._pickling is not None)
                await tab.rerun()
            assert ("WAIT", True) in admitted
            assert ("TAKE", True) not in admitted
            assert all(s.applied_seq <= tab.seq for s in tab.store.snapshots)
            assert load(tab.store.values["n"]) == 11
            assert sum("slow" in [v.key for v in s.changed] for s in tab.store.snapshots) == 1

    run(scenario())


def test_pickling_that_never_ends_holds_nobody_up_forever(app, monkeypatch):
    monkeypatch.setattr(keeper_module, "_PICKLING_LIMIT", 0.2)
    script = app("""
import threading, sys
gate = sys.__dict__.setdefault("fleet_test_gate", threading.Event())
class Stuck:
    def __reduce__(self):
        gate.wait(30)
        return str, ("a",)
st.session_state.stuck = Stuck()
""")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            assert "TimeoutError" in tab.store.unsaved[""].reason
            await tab.rerun()
            __import__("sys").fleet_test_gate.set()
            await tab.rerun()
            assert tab.store.unsaved == {}

    run(scenario())


def test_a_run_that_begins_while_values_are_pickled(app):
    script = app("""
import threading, sys, time
class Slow:
    def __reduce__(self):
        time.sleep(0.3)
        return str, ("a",)
st.session_state.slow = Slow()
st.session_state.n = st.session_state.get("n", 0) + 1
""")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            seq = await tab.rerun(wait=False)
            keeper = host.keeper(tab.session_id)
            await poll(lambda: keeper._pickling is not None)
            # As when a source file changes.
            host.session(tab.session_id).request_rerun(None)
            await tab.applied(seq)
            assert len(tab.store.snapshots) == 1
            assert load(tab.store.values["n"]) == 2

    run(scenario())


def test_a_limit_for_a_session(app):
    script = app("""
st.session_state.big = "b" * 5000
st.session_state.small = "s" * 2000
""")

    async def scenario():
        async with worker(script, max_snapshot_bytes=6000) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            assert list(tab.store.values) == ["small"]
            assert tab.store.unsaved["big"].type == "str"
            assert "larger than" in tab.store.unsaved["big"].reason

    run(scenario())


def test_all_of_it_on_request(app):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            host.ask("take_snapshot", session_id="unknown")
            await tab.rerun()
            host.ask("take_snapshot", session_id=tab.session_id)
            last = tab.store.snapshots[-1]
            assert len(tab.store.snapshots) == 2
            assert last.full
            assert last.core
            assert last.applied_seq == 1
            assert tab.store.keys == ["n"]

    run(scenario())


def test_without_a_browser_it_goes_over_the_control_connection(app):
    script = app("""
import time
st.session_state.n = 1
st.text("started")
for _ in range(100):
    time.sleep(0.02)
    st.empty()
    st.session_state.n += 1
""")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun(wait=False)
            await tab.inbox.until(lambda: "started" in tab.texts())
            tab.leave()
            snapshot = await host.inbox.event("snapshot")
            assert (snapshot.connection, snapshot.applied_seq) == (1, 1)
            assert snapshot.full
            assert load(snapshot.changed[0].pickle) < 50, "the script was stopped"
            host.ask("take_snapshot", session_id=tab.session_id)
            assert host.inbox.kinds("snapshot") == ["snapshot"] * 2

    run(scenario())


def test_a_broken_stream_lets_the_script_finish(app):
    script = app("""
import time
st.session_state.n = 1
st.text("started")
for _ in range(10):
    time.sleep(0.02)
    st.empty()
    st.session_state.n += 1
""")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun(wait=False)
            await tab.inbox.until(lambda: "started" in tab.texts())
            tab.lose()
            snapshot = await host.inbox.event("snapshot")
            assert load(snapshot.changed[0].pickle) == 11

    run(scenario())


def test_what_may_not_have_arrived_is_sent_again(app):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            tab.lose()
            snapshot = await host.inbox.event("snapshot")
            assert snapshot.full

    run(scenario())


def test_a_user_who_logs_out(app):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            host.session(tab.session_id).clear_user_info()
            await tab.click("Add")
            assert tab.store.forgotten
            assert not tab.store.snapshots[-1].changed
            await tab.click("Add")
            assert sum(snapshot.forget for snapshot in tab.store.snapshots) == 1
            host.ask("take_snapshot", session_id=tab.session_id)
            assert not tab.store.snapshots[-1].core

    run(scenario())


def test_what_of_the_user_cant_be_kept(app, monkeypatch):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            monkeypatch.setitem(host.session(tab.session_id)._user_info, "a", object())
            await tab.rerun()
            assert "not JSON serializable" in tab.store.unsaved[""].reason

    run(scenario())


def test_pings_are_answered_at_once(app):
    script = app("")

    async def scenario():
        async with worker(script) as host:
            host.ask("ping", number=7)
            assert host.inbox.events[-1].pong.number == 7

    run(scenario())


def test_a_missing_seam_is_named(monkeypatch):
    from streamfleet_worker.errors import AppCannotRunError

    monkeypatch.delattr(AppSession, "clear_session_caches")
    with pytest.raises(AppCannotRunError, match=r"AppSession\.clear_session_caches"):
        streamlit_compat.check_streamlit()
