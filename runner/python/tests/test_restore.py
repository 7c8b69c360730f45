"""Sessions that go on in another process."""

import inspect
import pickle
import time

import pytest
from elsewhere import elsewhere
from fleet import Browser, poll, run, worker
from streamfleet_worker import keeper as keeper_module
from streamfleet_worker.core import Core
from streamfleet_worker.restore import STATE_LOST
from streamfleet_worker.values import dump, load
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.state.common import WidgetMetadata


def tab_of(host, saved):
    """The browser tab that was connected to the process before."""
    tab = Browser(host, saved["session_id"])
    tab.seq = saved["seq"]
    tab.page, tab.query = saved["page"], saved["query"]
    tab.widgets = {key: WidgetState.FromString(data) for key, data in saved["widgets"].items()}
    tab.ids, tab.fragments = saved["ids"], saved["fragments"]
    tab.id = lambda label: tab.ids[label]
    tab.fragment = lambda label: tab.fragments[label]
    return tab


def save(tab):
    """A tab and what is kept of its session, for another process."""
    labelled = [
        (element.label, element.id, fragment)
        for _, element, fragment in tab.elements()
        if hasattr(element, "label") and hasattr(element, "id")
    ]
    return {
        "session_id": tab.session_id,
        "seq": tab.seq,
        "page": tab.page,
        "query": tab.query,
        "widgets": {key: state.SerializeToString() for key, state in tab.widgets.items()},
        "ids": {label: element for label, element, _ in labelled},
        "fragments": {label: fragment for label, _, fragment in labelled},
        "snapshot": tab.store.plain(),
        "texts": tab.texts(),
    }


async def come_back(host, saved, **fields):
    """The tab, connected by a runner that has the session's snapshot."""
    tab = tab_of(host, saved)
    fields = {"restore": saved["snapshot"], "resume_session_id": saved["session_id"], **fields}
    return await tab.open(**fields)


EVERYTHING = """
import dataclasses, enum
import pandas as pd
@dataclasses.dataclass
class Point:
    x: int
class Colour(enum.Enum):
    RED = 1
s = st.session_state
if "n" not in s:
    s.n, s.runs, s.changes = 0, 0, []
    s.point, s.colour, s.twice = Point(3), Colour.RED, lambda n: 2 * n
    s.frame = pd.DataFrame({"a": range(1000)})
s.runs += 1
def add(by, *, times=1):
    s.n += by * times
def changed(what):
    s.changes = s.changes + [what]
st.button("Add", on_click=add, args=(2,), kwargs={"times": 3})
st.text_input("Text", key="text", on_change=changed, args=("text",))
st.selectbox("Box", ["a", "b", "c"], key="box", on_change=changed, args=("box",))
st.multiselect("Several", ["a", "b", "c"], on_change=changed, args=("several",))
st.slider("Range", 0, 10, (2, 5), on_change=changed, args=("range",))
st.date_input("Day", None, key="day", on_change=changed, args=("day",))
st.number_input("Number", 0, 10, 5, key="number", on_change=changed, args=("number",))
with st.form("form"):
    st.text_input("In form", key="in_form")
    st.form_submit_button("Submit", on_click=changed, args=("form",))
@st.fragment
def part():
    s.setdefault("parts", 0)
    if st.button("Part"):
        s.parts += 1
    st.text(f"parts {s.parts}")
part()
def clear():
    s.text = ""
st.button("Clear", on_click=clear)
st.text(f"n {s.n}, text {s.text!r}, box {s.box}, form {s.in_form!r}, changes {s.changes}")
st.text(f"{s.point.x} {s.colour.name} {s.twice(4)} {len(s.frame)}")
"""


def test_a_session_goes_on_in_another_process(app):
    script = app(EVERYTHING)

    async def here():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            await tab.click("Add")
            tab.set("Text", string_value="typed")
            tab.set("Box", string_value="c")
            tab.set("Several", string_array_value=["a", "b"])
            tab.set("Range", double_array_value=[3, 4])
            await tab.rerun()
            await tab.click("Part", fragment=tab.fragment("Part"))
            assert tab.texts() == ["parts 1"]
            tab.set("In form", string_value="formed")
            await tab.rerun(tab.id("Submit"))
            return save(tab)

    saved = run(here())
    assert saved["texts"][1].startswith("n 6, text 'typed', box c, form 'formed'")
    assert "'text', 'box', 'several', 'range', 'form'" in saved["texts"][1]
    # Asserted there.
    runs = elsewhere(_it_goes_on, script, saved)
    assert runs == load(saved["snapshot"]["values"]["runs"]) + 1 + 4


def _it_goes_on(script, saved):
    async def there():
        async with worker(script) as host:
            tab = await come_back(host, saved)
            first = (await tab.inbox.event("snapshot")).full
            assert first
            kinds = ["accepted", "bound", "run", "snapshot"]
            assert tab.inbox.kinds() == kinds, "output was shown"
            assert tab.messages == []

            # Nothing has changed by it, and nobody was told that something did.
            await tab.rerun()
            assert tab.texts() == saved["texts"]
            # A fragment that the page knows from the process before.
            await tab.click("Part", fragment=tab.fragment("Part"))
            assert tab.texts() == ["parts 2"]
            # A callback with arguments.
            await tab.click("Add")
            assert tab.texts()[1].startswith("n 12, text 'typed', box c, form 'formed'")
            # Only what changes is told.
            tab.set("Number", double_value=7)
            await tab.rerun()
            assert tab.texts()[1].endswith("'form', 'number']")
            await tab.click("Clear")
            assert "text ''" in tab.texts()[1]
            return load(tab.store.values["runs"])

    return run(there())


def test_what_the_script_has_set_wins_over_what_was_typed(app):
    script = app("""
def clear():
    st.session_state.text = ""
st.text_input("Text", key="text")
st.button("Clear", on_click=clear)
st.text(repr(st.session_state.text))
""")

    async def here():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            tab.set("Text", string_value="typed")
            await tab.rerun()
            await tab.click("Clear")
            tab.widgets.clear()
            return save(tab)

    saved = run(here())
    assert saved["texts"] == ["''"]

    async def there():
        async with worker(script) as host:
            tab = await come_back(host, saved, refresh=True)
            await tab.inbox.event("snapshot")
            assert tab.texts() == ["''"]
            assert host.values(tab.session_id)["text"] == ""

    run(there())


PAGES = {
    "source": """
st.session_state.setdefault("seen", [])
st.navigation([st.Page("one.py"), st.Page("two.py")]).run()
""",
    "one": 'st.text_input("Text", key="text")\nst.text("one")',
    "two": """
for key in list(st.session_state):
    st.session_state[key] = st.session_state[key]
st.slider("Slider", 0, 9, key="slider")
st.text(f"two {st.session_state.text} {st.session_state.slider}")
""",
}


def test_the_page_and_what_it_keeps_alive(app):
    script = app(**PAGES)

    async def here():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            tab.set("Text", string_value="typed")
            await tab.rerun()
            pages = next(m for m in reversed(tab.messages) if m.WhichOneof("type") == "navigation")
            tab.page = pages.navigation.app_pages[1].page_script_hash
            await tab.rerun()
            tab.widgets.clear()
            tab.set("Slider", double_array_value=[7])
            await tab.rerun()
            await tab.rerun()
            return save(tab)

    saved = run(here())

    async def there():
        async with worker(script) as host:
            tab = await come_back(host, saved, refresh=True)
            await tab.inbox.event("snapshot")
            assert tab.texts() == saved["texts"]
            await tab.rerun()
            assert tab.texts() == saved["texts"]

    run(there())
    assert saved["texts"] == ["two typed 7"]


def test_the_query_string(app):
    script = app("""
if st.button("Set"):
    st.query_params.a = "1"
st.text(st.query_params.get("a"))
""")

    async def here():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            await tab.click("Set")
            return save(tab)

    saved = run(here())

    async def there():
        async with worker(script) as host:
            tab = await come_back(host, saved, refresh=True)
            await tab.inbox.event("snapshot")
            assert tab.texts() == ["1"]

    run(there())


@pytest.mark.skipif(
    "persist_state" not in inspect.signature(WidgetMetadata).parameters,
    reason="this Streamlit has no persisted widgets",
)
def test_widgets_that_keep_their_value_when_not_shown(app):
    script = app("""
show = st.checkbox("Show", True, key="show")
if show:
    st.text_input("Session", key="a", persist_state="session")
    st.text_input("Page", key="b", persist_state="page")
st.text(f"{st.session_state.get('a')} {st.session_state.get('b')}")
""")

    async def here(shown):
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            tab.set("Session", string_value="s")
            tab.set("Page", string_value="p")
            await tab.rerun()
            if not shown:
                tab.set("Show", bool_value=False)
                await tab.rerun()
                tab.widgets = {tab.id("Show"): tab.widgets[tab.id("Show")]}
                await tab.rerun()
            return save(tab)

    async def there(saved):
        async with worker(script) as host:
            tab = await come_back(host, saved, refresh=True)
            await tab.inbox.event("snapshot")
            assert tab.texts() == ["s p"]
            await tab.rerun()
            assert tab.texts() == ["s p"]
            tab.set("Show", bool_value=True)
            await tab.rerun()
            assert tab.texts() == ["s p"]

    for shown in (True, False):
        saved = run(here(shown))
        assert saved["texts"] == ["s p"]
        run(there(saved))


@pytest.mark.skipif(
    "disabled" not in inspect.signature(WidgetMetadata).parameters,
    reason="this Streamlit takes values of disabled widgets from browsers",
)
def test_a_disabled_widget(app):
    script = app("""
off = st.checkbox("Off", key="off")
st.text(st.text_input("Text", key="text", disabled=off))
""")

    async def here():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            tab.set("Text", string_value="typed")
            await tab.rerun()
            tab.set("Off", bool_value=True)
            await tab.rerun()
            return save(tab)

    saved = run(here())

    async def there():
        async with worker(script) as host:
            tab = await come_back(host, saved, refresh=True)
            await tab.inbox.event("snapshot")
            assert tab.texts() == ["typed"]
            await tab.rerun()
            assert tab.texts() == ["typed"]

    run(there())


def test_a_fragment_that_only_the_process_before_knew(app):
    script = app("""
st.session_state.setdefault("runs", 0)
st.session_state.runs += 1
@st.dialog("Hello")
def ask():
    st.text_input("Name", key="name")
    st.button("OK")
if st.button("Ask"):
    ask()
@st.fragment
def part():
    st.button("Part")
    st.text("part")
part()
st.text(f"runs {st.session_state.runs}")
""")

    async def here():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            await tab.click("Ask")
            return save(tab)

    saved = run(here())

    async def there():
        async with worker(script) as host:
            tab = await come_back(host, saved)
            await tab.inbox.event("snapshot")
            # What is known runs as a fragment.
            await tab.click("Part", fragment=tab.fragment("Part"))
            assert tab.texts() == ["part"]
            # The dialog is not: the whole script runs, and the page is no longer a foreign one.
            await tab.click("OK", fragment=tab.fragment("OK"))
            assert tab.texts() == ["part", "runs 4"]
            await tab.click("OK", fragment=tab.fragment("OK"))
            assert tab.texts() == ["part", "runs 4"]

    run(there())


COUNTER = """
import threading
s = st.session_state
if "n" not in s:
    s.n, s.lock = 0, threading.Lock()
def add():
    s.n += 1
st.button("Add", on_click=add)
st.text(s.n)
"""


async def counted(script, clicks=2):
    async with worker(script) as host:
        tab = await Browser(host).open()
        await tab.rerun()
        for _ in range(clicks):
            await tab.click("Add")
        return save(tab)


@pytest.mark.parametrize(
    "core", [b"", b"\x01", b"\x02abcdefgh", b'\x01\0\0\0\x05{"a":', b"\x01\0\0\0\x02{}\xff\xff"]
)
def test_a_snapshot_that_cant_be_read(app, core):
    script = app(COUNTER)
    saved = run(counted(script))
    saved["snapshot"]["core"] = core

    async def there():
        async with worker(script) as host:
            tab = tab_of(host, saved)
            old, tab.session_id = tab.session_id, "22222222-2222-4222-8222-222222222222"
            await tab.open(restore=saved["snapshot"], resume_session_id=old, refresh=True)
            assert tab.session_id != old
            await tab.inbox.event("snapshot")
            await tab.inbox.until(tab.toasts)
            assert tab.toasts() == [STATE_LOST]
            assert tab.texts() == ["0"]
            await tab.click("Add")
            assert tab.texts() == ["1"]

    run(there())


def test_a_value_that_cant_be_read(app):
    script = app(COUNTER.replace('if "n" not in s', 'if "lock" not in s'))
    saved = run(counted(script))
    saved["snapshot"]["values"]["broken"] = b"\0not a pickle"
    saved["snapshot"]["values"]["module"] = b"\0cno_such_module\nThing\n."

    async def there():
        async with worker(script) as host:
            tab = await come_back(host, saved)
            await tab.inbox.event("snapshot")
            assert tab.store.unsaved.keys() == {"broken", "module", "lock"}
            assert "no_such_module" in tab.store.unsaved["module"].reason
            assert "broken" not in tab.store.values

    run(there())


@pytest.mark.skipif(
    not hasattr(AppSession, "matches_user_info"), reason="this Streamlit doesn't check identities"
)
def test_another_users_session(app):
    script = app(COUNTER)
    flags = ["--server.trustedUserHeaders", '{"x-user": "user"}']

    async def here():
        async with worker(script, flags) as host:
            tab = await Browser(host).open(headers=[(b"x-user", b"ann")])
            await tab.rerun()
            await tab.click("Add")
            return save(tab)

    saved = run(here())
    assert Core.from_bytes(saved["snapshot"]["core"]).user_info == {"user": "ann"}
    loaded = dump(_Noisy(), 1 << 20).to_bytes()
    saved["snapshot"]["values"]["noisy"] = loaded

    async def there(user):
        _Noisy.loads = 0
        async with worker(script, flags) as host:
            tab = await come_back(host, saved, headers=[(b"x-user", user)], refresh=True)
            await tab.inbox.event("snapshot")
            assert "session_ended" not in host.inbox.kinds()
            return tab.texts(), _Noisy.loads

    assert run(there(b"ann")) == (["1"], 1)
    # As fresh, with nothing of it unpickled; the gateway's id for a new session is the same here.
    assert run(there(b"bob")) == (["0"], 0)


class _Noisy:
    loads = 0

    def __reduce__(self):
        return _load_noisy, ()


class _SlowToRead:
    def __reduce__(self):
        return time.sleep, (0.5,)


def _load_noisy():
    _Noisy.loads += 1
    return _Noisy()


def test_messages_wait_for_the_first_run(app):
    script = app(COUNTER + "import time; time.sleep(0.3)")
    saved = run(counted(script))

    async def there():
        async with worker(script) as host:
            tab = await come_back(host, saved)
            for _ in range(3):
                await tab.click("Add", wait=False)
            assert tab.messages == []
            await tab.inbox.event("snapshot")
            assert tab.store.applied == 0
            await tab.applied(tab.seq)
            # Not repeated ones, so they may interrupt each other; none is lost.
            assert load(tab.store.values["n"]) == 5

    run(there())


def test_repeated_messages_are_applied_one_at_a_time(app):
    script = app("""
s = st.session_state
s.setdefault("log", [])
if st.button("Press"):
    import time
    time.sleep(0.1)
    s.log.append("pressed")
st.text(len(s.log))
""")

    async def here():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            return save(tab)

    saved = run(here())

    async def there():
        async with worker(script) as host:
            tab = await come_back(host, saved, replay_until=saved["seq"] + 3)
            for _ in range(3):
                await tab.click("Press", wait=False)
            await tab.applied(tab.seq)
            assert load(tab.store.values["log"]) == ["pressed"] * 3
            assert [s.applied_seq for s in tab.store.snapshots][1:] == [2, 3, 4]

    run(there())


def test_a_notice_instead_of_the_first_run(app):
    script = app(COUNTER)
    saved = run(counted(script))

    async def there():
        async with worker(script) as host:
            tab = await come_back(host, saved, notice="It crashed")
            await tab.inbox.until(tab.toasts)
            assert tab.toasts() == ["It crashed"]
            # The page stops waiting, and keeps what it shows.
            assert tab.kinds() == [
                "new_session",
                "session_status_changed",
                "delta",
                "script_finished",
                "session_status_changed",
            ]
            finished = tab.messages[3].script_finished
            assert finished == tab.messages[3].FINISHED_FRAGMENT_RUN_SUCCESSFULLY
            assert [m.session_status_changed.script_is_running for m in tab.messages[1::3]] == [
                True,
                False,
            ]
            assert "snapshot" not in tab.inbox.kinds()
            # The first click comes after a run that nobody sees, and so has its effect.
            await tab.click("Add")
            assert tab.texts() == ["3"]
            assert load(tab.store.values["n"]) == 3

    run(there())


def test_released_before_it_has_run(app):
    script = app(COUNTER + "import time; time.sleep(0.3)")
    saved = run(counted(script))

    async def there():
        async with worker(script) as host:
            tab = await come_back(host, saved, notice="It crashed")
            await tab.click("Add", wait=False)
            await poll(lambda: host.keeper(tab.session_id)._postponed)
            host.ask("release", session_id=tab.session_id)
            await tab.inbox.event("released")
            assert "snapshot" not in tab.inbox.kinds()
            assert tab.store.applied == 0

    run(there())


SLOW = b"\0" + pickle.dumps(_SlowToRead())


def test_values_are_read_while_others_are_served(app):
    script = app(COUNTER)
    saved = run(counted(script))
    saved["snapshot"]["values"]["slow"] = SLOW

    async def there():
        async with worker(script) as host:
            tab = await come_back(host, saved)
            await tab.click("Add", wait=False)
            host.ask("ping", number=1)
            host.ask("take_snapshot", session_id=tab.session_id)
            host.session(tab.session_id).request_rerun(None)
            other = await Browser(host, "33333333-3333-4333-8333-333333333333").open()
            await other.rerun()
            assert host.keeper(tab.session_id)._reading is not None, "it was not slow enough"
            assert tab.inbox.kinds() == ["accepted", "bound"]
            await tab.applied(tab.seq)
            assert load(tab.store.values["n"]) == 3
            assert "slow" in tab.store.values

    run(there())


@pytest.mark.parametrize("end", ["release", "leave", "come back"])
def test_the_end_comes_while_values_are_read(app, end):
    script = app(COUNTER)
    saved = run(counted(script))
    saved["snapshot"]["values"]["slow"] = SLOW

    async def there():
        async with worker(script) as host:
            tab = await come_back(host, saved)
            if end == "release":
                host.ask("release", session_id=tab.session_id)
                assert tab.inbox.kinds()[-1] == "released"
                assert "snapshot" not in tab.inbox.kinds()
                return
            if end == "leave":
                tab.leave()
                await poll(lambda: not host.sessions.list_active_sessions())
                await poll(lambda: host.keeper(tab.session_id)._cold)
            tab.number, tab.seq = 2, 0
            await tab.open(resume_session_id=tab.session_id)
            await tab.click("Add")
            assert tab.texts() == ["3"]

    run(there())


def test_values_that_take_too_long_to_read(app, monkeypatch):
    monkeypatch.setattr(keeper_module, "_PICKLING_LIMIT", 0.1)
    script = app(COUNTER)
    saved = run(counted(script))
    saved["snapshot"]["values"]["slow"] = SLOW

    async def there():
        async with worker(script) as host:
            tab = await come_back(host, saved, refresh=True)
            await tab.inbox.event("snapshot")
            assert tab.texts() == ["0"]
            assert tab.store.unsaved["slow"].reason == "it took too long to read"

    run(there())


def test_a_script_that_never_ends_is_shown_after_a_while(app, monkeypatch):
    monkeypatch.setattr(keeper_module, "_UNSEEN_LIMIT", 0.3)
    script = app("""
import time
s = st.session_state
s.setdefault("n", 0)
def add():
    s.n += 1
st.button("Add", on_click=add)
st.button("Go", key="go")
if s.go:
    s.forever = True
st.text(s.n)
while s.get("forever"):
    time.sleep(0.01)
    st.empty()
""")

    async def here():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            await tab.click("Add")
            await tab.click("Go", wait=False)
            await poll(lambda: host.values(tab.session_id).get("forever"))
            tab.leave()
            tab.store.apply(await host.inbox.event("snapshot"))
            return save(tab)

    saved = run(here())

    async def there():
        async with worker(script) as host:
            tab = await come_back(host, saved)
            await tab.inbox.until(lambda: "1" in tab.texts())
            await tab.click("Add", wait=False)
            await tab.inbox.until(lambda: "2" in tab.texts())

    run(there())


def test_the_browser_leaves_during_the_first_run(app):
    script = app(COUNTER + "import time\nfor _ in range(20): time.sleep(0.02); st.empty()")
    saved = run(counted(script, clicks=1))

    async def there():
        async with worker(script) as host:
            tab = await come_back(host, saved)
            await poll(lambda: host.keeper(tab.session_id)._warming)
            tab.leave()
            await host.inbox.event("snapshot")
            # The run was stopped halfway, so it comes first again.
            tab.number, tab.seq = 2, 0
            await tab.open(resume_session_id=tab.session_id)
            await tab.click("Add")
            assert load(tab.store.values["n"]) == 2

    run(there())


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ([], b", PLACEHOLDER_AUTH_TOKEN, r"),
        ([b"streamlit"], b"streamlit, PLACEHOLDER_AUTH_TOKEN, r"),
        ([b"streamlit, token"], b"streamlit, token, r"),
        ([b"streamlit, token, old"], b"streamlit, token, r"),
        ([b"streamlit", b"token,old"], b"streamlit, token, r"),
    ],
)
def test_the_id_is_passed_as_streamlits_page_does(given, made):
    from streamfleet_worker.stream import _resuming

    headers = [(b"host", b"h"), *((b"sec-websocket-protocol", value) for value in given)]
    assert _resuming(headers, "r") == [(b"host", b"h"), (b"sec-websocket-protocol", made)]
