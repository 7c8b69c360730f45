"""Scripts that don't end."""

import contextlib
import threading
import time

import pytest
from fleet import Browser, poll, run, worker
from streamfleet_worker import runaways
from streamfleet_worker.values import load
from streamlit.runtime.scriptrunner import ScriptRunner


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(runaways, "_BEFORE_INTERRUPTION", 0.2)
    monkeypatch.setattr(runaways, "_BETWEEN_INTERRUPTIONS", 0.1)
    monkeypatch.setattr(runaways, "_BEFORE_GIVING_UP", 0.5)


def errors(tab):
    return [element.body for kind, element, _ in tab.elements() if kind == "alert"]


LOOPS = {
    "pass": "while True: pass",
    "sleep": "import time\nwhile True: time.sleep(0.01)",
    "write": "while True:\n  try: st.empty()\n  except Exception: pass",
    "swallow": """
import time
for _ in range(3):
    try:
        while True: time.sleep(0.01)
    except BaseException:
        pass
""",
}


@pytest.mark.parametrize("loop", LOOPS)
def test_a_script_that_never_ends(app, loop):
    body = "".join(f"    {line}\n" for line in LOOPS[loop].strip().splitlines())
    script = app(f"""
st.session_state.n = st.session_state.get("n", 0) + 1
st.text("before")
if st.button("Run"):
{body}
st.text("after")
""")

    async def scenario():
        async with worker(script, run_timeout_ms=300) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            assert errors(tab) == []
            await tab.click("Run")
            assert tab.texts()[0] == "before"
            (error,) = errors(tab)
            assert "run_timeout" in error
            assert "0.3 s" in error
            assert tab.kinds()[-2:] == ["script_finished", "session_status_changed"]
            assert not tab.messages[-1].session_status_changed.script_is_running
            assert load(tab.store.values["n"]) == 2
            await tab.rerun()
            assert tab.texts() == ["before", "after"]
            assert "stuck" not in host.inbox.kinds()

    run(scenario())


def test_callbacks_and_fragments_count(app):
    script = app("""
import time
def forever():
    while True: time.sleep(0.01)
st.button("Callback", on_click=forever)
@st.fragment
def part():
    if st.button("Fragment"):
        forever()
    st.text("part")
part()
st.text("whole")
""")

    async def scenario():
        async with worker(script, run_timeout_ms=300) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            await tab.click("Callback")
            assert len(errors(tab)) == 1
            await tab.click("Fragment", fragment=tab.fragment("Fragment"))
            (toast,) = tab.toasts()
            assert "run_timeout" in toast
            await tab.rerun()
            assert tab.texts() == ["part", "whole"]

    run(scenario())


def test_a_superseded_run_is_watched_too(app):
    script = app("""
import time
if st.button("Run"):
    st.text("running")
    while True: time.sleep(0.01)
st.text("done")
""")

    async def scenario():
        async with worker(script, run_timeout_ms=300) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            await tab.click("Run", wait=False)
            await tab.inbox.until(lambda: tab.texts() == ["running"])
            # The page is served, while the other goes on.
            await tab.rerun()
            assert tab.texts() == ["done"]
            await poll(lambda: not any("script" in t.name for t in threading.enumerate()))
            assert errors(tab) == []

    run(scenario())


def test_what_cant_be_interrupted_is_reported(app):
    script = app("""
import time
if st.button("Run"):
    time.sleep(1.5)
""")

    async def scenario():
        async with worker(script, run_timeout_ms=200) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            await tab.click("Run", wait=False)
            stuck = await host.inbox.event("stuck")
            assert stuck.session_id == tab.session_id
            assert stuck.run_ms >= 900
            await tab.applied(tab.seq)
            assert host.inbox.kinds("stuck") == ["stuck"]
            assert "run_timeout" in errors(tab)[0]

    run(scenario())


def test_no_limit_unless_asked_for(app):
    script = app("import time\ntime.sleep(0.4)\nst.text('done')")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            assert host.session(tab.session_id).run_listener is None
            await tab.rerun()
            assert tab.texts() == ["done"]
            assert errors(tab) == []

    run(scenario())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_interruption_that_hits_streamlit_itself(app, monkeypatch):
    script = app("st.session_state.n = st.session_state.get('n', 0) + 1\nst.text('done')")
    original = ScriptRunner._on_script_finished

    def interrupted(self, *args):
        monkeypatch.setattr(ScriptRunner, "_on_script_finished", original)
        raise runaways.RunTimeoutError

    async def scenario():
        async with worker(script, run_timeout_ms=60_000) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            monkeypatch.setattr(ScriptRunner, "_on_script_finished", interrupted)
            await tab.rerun()
            assert not tab.messages[-1].session_status_changed.script_is_running
            await tab.rerun()
            assert load(tab.store.values["n"]) == 3

    run(scenario())


def test_an_interruption_that_comes_too_late_does_no_harm():
    """The exception may be on its way as the script ends."""

    class Runner:
        def request_stop(self):
            pass

    late = runaways.Runaways(1, lambda *_: None)
    outcome = []

    def script(runner, ready, go):
        late.started(runner, "s")
        ready.set()
        with contextlib.suppress(runaways.RunTimeoutError):  # In time.
            go.wait(5)
        for _ in range(2):
            try:
                outcome.append(late.finished(runner))
            except runaways.RunTimeoutError:
                continue  # Before it had begun, as the session expects.
            break
        outcome.append(sum(range(100_000)))

    for _ in range(50):
        runner, ready, go = Runner(), threading.Event(), threading.Event()
        thread = threading.Thread(target=script, args=(runner, ready, go))
        thread.start()
        ready.wait(5)
        with late._lock:
            go.set()
            time.sleep(0.002)
            late._runs[runner].told_to_stop = True
            late._runs[runner].interrupted = 1.0
            runaways._raise_in(thread, runaways.RunTimeoutError)
        thread.join(5)
    assert all("run_timeout" in message for message in outcome[::2])
    assert set(outcome[1::2]) == {sum(range(100_000))}
    assert len(outcome) == 100
