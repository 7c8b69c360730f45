"""Sessions that change connections and workers."""

import pytest
from fleet import Browser, poll, run, worker
from streamfleet_worker.values import load
from streamlit.proto.BackMsg_pb2 import BackMsg

COUNTER = """
s = st.session_state
s.setdefault("n", 0)
def add():
    s.n += 1
st.button("Add", on_click=add)
st.text(s.n)
"""
SLOW = """
import time
s = st.session_state
s.setdefault("n", 0)
st.button("Again")
st.text("started")
for _ in range(15):
    time.sleep(0.02)
    st.empty()
s.n += 1
st.text(s.n)
"""


class Uploads:
    """Hooks that a manager of uploaded files may have."""

    def __init__(self, host):
        self.calls = []
        manager = host.sessions._uploaded_file_mgr
        manager.mark_restored = lambda session_id: self.calls.append(("restored", session_id))
        manager.release = lambda session_id: self.calls.append(("release", session_id))


# --- release ---------------------------------------------------------------------------------

ENDLESS = """
import time
s = st.session_state
s.setdefault("n", 0)
def add():
    s.n += 1
st.button("Add", on_click=add)
st.text(f"count {s.n}")
while s.n < 2:
    time.sleep(0.02)
    st.empty()
"""


def test_a_script_that_runs_on_does_not_keep_its_user_waiting(app):
    script = app(ENDLESS)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun(wait=False)
            await poll(lambda: "count 0" in tab.texts())
            # Not while it runs, if it needn't be now.
            host.ask("release", session_id=tab.session_id, only_at_rest=True)
            host.ask("release", session_id=tab.session_id)
            await tab.click("Add", wait=False)
            await poll(lambda: "count 1" in tab.texts())
            assert "released" not in tab.inbox.kinds()
            await tab.click("Add", wait=False)
            # This one ends.
            await poll(lambda: tab.inbox.kinds()[-1] == "released")
            assert host.session(tab.session_id) is None

    run(scenario())


def test_a_session_that_has_just_left_is_looked_for_elsewhere(app):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            host.ask("release", session_id=tab.session_id)
            await tab.inbox.event("released")
            late = Browser(host)
            await late.open(bound=False, resume_session_id=tab.session_id)
            await poll(lambda: late.inbox.kinds()[-1:] == ["released"])
            assert "bound" not in late.inbox.kinds()

    run(scenario())


def test_release_at_rest(app):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            uploads = Uploads(host)
            tab = await Browser(host).open()
            await tab.rerun()
            host.ask("release", session_id=tab.session_id)
            await tab.inbox.event("released")
            assert tab.inbox.kinds()[-2:] == ["snapshot", "released"]
            assert tab.inbox.events[-1].released.session_id == tab.session_id
            assert tab.store.applied == 1
            await poll(lambda: tab.transport.closed)
            assert host.session(tab.session_id) is None
            assert uploads.calls == [("release", tab.session_id)]
            assert tab.inbox.kinds()[-1] == "released"
            assert "session_ended" not in host.inbox.kinds()
            # Once is enough.
            host.ask("release", session_id=tab.session_id, now=True)
            assert host.inbox.kinds("released") == ["released"]

    run(scenario())


def test_release_waits_for_the_script_and_what_comes_meanwhile(app):
    script = app(SLOW)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun(wait=False)
            await tab.inbox.until(lambda: "started" in tab.texts())
            host.ask("release", session_id=tab.session_id)
            await tab.rerun(wait=False)
            await tab.inbox.event("released")
            assert load(tab.store.values["n"]) == 1
            assert tab.store.applied == 2
            assert tab.texts() == ["started", "1"]
            assert [s.applied_seq for s in tab.store.snapshots] == [2]

    run(scenario())


def test_release_now_leaves_out_the_run(app):
    script = app(SLOW)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            tab.messages.clear()
            await tab.rerun(wait=False)
            await tab.inbox.until(lambda: "started" in tab.texts())
            host.ask("release", session_id=tab.session_id)
            host.ask("release", session_id=tab.session_id, now=True)
            assert tab.inbox.kinds()[-1] == "released"
            assert len(tab.store.snapshots) == 1
            assert tab.store.applied == 1
            assert host.session(tab.session_id) is None

    run(scenario())


def test_release_without_a_browser(app):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            tab.leave()
            await tab.inbox.event("end")
            host.ask("release", session_id=tab.session_id)
            assert host.inbox.kinds("snapshot", "released") == ["snapshot", "released"]
            host.ask("release", session_id="unknown", now=True)
            assert host.inbox.events[-1].released.session_id == "unknown"
            assert "session_ended" not in host.inbox.kinds()

    run(scenario())


def test_release_while_values_are_pickled(app):
    script = app("""
import time
class Slow:
    def __reduce__(self):
        time.sleep(0.2)
        return str, ("a",)
st.session_state.slow = Slow()
""")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun(wait=False)
            await poll(
                lambda: host.session(tab.session_id) and host.keeper(tab.session_id)._pickling
            )
            host.ask("release", session_id=tab.session_id, now=True)
            await tab.inbox.event("released")
            assert tab.inbox.kinds("snapshot", "released") == ["snapshot", "released"]

    run(scenario())


def test_a_session_that_has_another_owner_is_just_ended(app):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            host.ask("end_session", session_id=tab.session_id)
            assert host.inbox.kinds("session_ended", "released") == ["session_ended"]
            assert tab.session_id not in host.sessions.events.keepers

    run(scenario())


# --- takeover and refresh -----------------------------------------------------------------------


def other(tab, connection=2):
    """The same tab over another connection."""
    again = Browser(tab.worker, tab.session_id)
    again.widgets, again.number = tab.widgets, connection
    again.messages = list(tab.messages)
    again.store.core, again.store.values = tab.store.core, tab.store.values
    again.seq = tab.seq if connection == tab.number else 0
    return again


def test_a_browser_that_comes_back_closes_its_older_connection(app):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            again = await other(tab).open(resume_session_id=tab.session_id)
            assert again.session_id == tab.session_id
            close = await tab.inbox.event("close")
            assert close.code == 1001
            await poll(lambda: tab.transport.closed)
            assert "session_ended" not in host.inbox.kinds()
            await again.click("Add")
            assert again.texts() == ["1"]
            assert again.store.snapshots[-1].connection == 2
            assert again.store.applied == 1

    run(scenario())


def test_messages_that_wait_in_the_older_connection_are_dropped(app):
    script = app(SLOW)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open(replay_until=3)
            for _ in range(3):
                await tab.rerun(wait=False)
            await tab.inbox.until(lambda: "started" in tab.texts())
            again = await other(tab, connection=1).open(
                resume_session_id=tab.session_id, replay_until=3, refresh=True
            )
            again.seq = 0
            for _ in range(3):
                await again.rerun(wait=False)
            await again.applied(3)
            # The first went on and is not repeated, and one run more was to show it.
            assert load(again.store.values["n"]) == 4

    run(scenario())


def test_refresh_at_rest_shows_all_of_it_again(app):
    script = app(COUNTER + 'st.text(st.text_input("Text"))')

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            tab.set("Text", string_value="typed")
            await tab.click("Add")
            again = other(tab, connection=1)
            again.messages.clear()
            await again.open(resume_session_id=tab.session_id, refresh=True)
            await again.inbox.event("applied_seq")
            assert again.texts() == ["1", "typed"]
            assert again.kinds()[0] == "new_session"
            assert again.store.applied == 2

    run(scenario())


def test_refresh_during_a_run_lets_it_end_unseen(app):
    script = app(SLOW)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun(wait=False)
            await tab.inbox.until(lambda: "started" in tab.texts())
            again = other(tab, connection=1)
            again.messages.clear()
            await again.open(resume_session_id=tab.session_id, refresh=True)
            # Waits for the run.
            await again.rerun()
            assert again.kinds()[0] == "new_session"
            assert load(again.store.values["n"]) == 3
            starts = again.kinds().count("new_session")
            assert starts == 2, "the first run was shown, or stopped"

    run(scenario())


def test_a_repeated_message_that_was_handled_is_not_applied_again(app):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            await tab.click("Add")
            tab.lose()
            await poll(lambda: not host.sessions.list_active_sessions())
            again = await other(tab, connection=1).open(
                resume_session_id=tab.session_id, replay_until=3
            )
            # At once, as all of it is known.
            assert (await again.inbox.event("applied_seq")) == 2
            for seq in (1, 2, 3):
                again.send(again.rerun_message(again.id("Add")), seq=seq)
            await again.applied(3)
            assert load(again.store.values["n"]) == 2

    run(scenario())


def test_a_repeated_message_waits_only_so_long(app, monkeypatch):
    from streamfleet_worker import keeper

    monkeypatch.setattr(keeper, "_REPLAY_LIMIT", 0.2)
    script = app("""
import time
if st.button("Stop"):
    st.text("stopped")
    st.stop()
st.text("started")
while True:
    time.sleep(0.01)
    st.empty()
""")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open(replay_until=2)
            await tab.rerun(wait=False)
            await tab.inbox.until(lambda: "started" in tab.texts())
            await tab.click("Stop")
            assert tab.texts() == ["stopped"]

    run(scenario())


@pytest.mark.parametrize("messages", [0, 1])
def test_a_new_session_for_a_page_that_is_there(app, messages):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open(refresh=True, replay_until=messages)
            if messages:
                assert tab.messages == []
                message = BackMsg()
                message.app_heartbeat = True
                tab.send(message)
            await tab.inbox.event("snapshot")
            assert tab.texts() == ["0"]
            # It may know fragments that nobody has heard of here.
            await tab.rerun(fragment="unknown")
            assert tab.kinds().count("new_session") == 2

    run(scenario())


def test_a_new_session_with_a_repeated_message(app):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open(refresh=True, replay_until=1)
            await tab.rerun()
            assert tab.kinds().count("new_session") == 1

    run(scenario())


def test_a_notice_for_a_new_session(app):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open(notice="All is lost")
            assert tab.messages == []
            await tab.rerun()
            assert tab.toasts() == ["All is lost"]
            assert tab.texts() == ["0"]
            await tab.click("Add")
            assert tab.toasts() == ["All is lost"]

    run(scenario())


def test_the_browser_goes_while_its_messages_wait(app, monkeypatch):
    from streamfleet_worker import websocket

    monkeypatch.setattr(websocket, "_GONE_LIMIT", 0.2)
    script = app(SLOW)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open(replay_until=9)
            for _ in range(9):
                await tab.rerun(wait=False)
            tab.leave()
            await poll(lambda: not host.sessions.list_active_sessions())
            assert host.keeper(tab.session_id)._handled < 3

    run(scenario())


def test_restored_uploads_are_told(app):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            uploads = Uploads(host)
            tab = await Browser(host).open()
            await tab.rerun()
            host.ask("release", session_id=tab.session_id)
            await poll(lambda: tab.transport.closed)
            again = other(tab)
            await again.open(restore=tab.store.plain(), resume_session_id=tab.session_id)
            await again.inbox.event("snapshot")
            assert uploads.calls == [("release", tab.session_id), ("restored", tab.session_id)]

    run(scenario())
