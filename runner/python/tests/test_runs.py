"""What the runner is told of each run, by a real Streamlit in this process."""

import sys
import time
import types

import pytest
from fleet import Browser, Store, poll, run, worker
from protos import wire as make_wire
from streamfleet_worker import runs as runs_module
from streamfleet_worker import streamlit_compat_runs
from streamfleet_worker.runs import Asked, Outcome, Phase, Reason, Run, SessionRuns
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.scriptrunner.script_cache import ScriptCache


def trace(number, flags=1):
    """The context of a message."""
    return bytes([number]) * 16 + bytes([100 + number]) * 8 + bytes([flags])


def phases(report):
    return [(Phase(phase.kind).name, phase.name) for phase in report.phases]


def check_times(report):
    times = [report.asked_at_us, report.started_at_us]
    for phase in report.phases:
        assert phase.started_at_us <= phase.ended_at_us
        times += [phase.started_at_us, phase.ended_at_us]
    times.append(report.ended_at_us)
    assert times == sorted(times)
    assert 0 <= time.time() * 1e6 - report.ended_at_us < 60e6
    if report.messages:
        assert report.asked_at_us <= report.first_message_at_us <= report.last_message_at_us


def facts(report):
    check_times(report)
    return report.seq, Reason(report.reason).name, Outcome(report.outcome).name


def test_the_numbers_are_the_protocols():
    file = make_wire().run_report.DESCRIPTOR.file
    for ours, theirs, prefix in (
        (Reason, "RunReason", "RUN_REASON_"),
        (Outcome, "RunOutcome", "RUN_OUTCOME_"),
        (Phase, "RunPhaseKind", "RUN_PHASE_KIND_"),
    ):
        values = file.enum_types_by_name[theirs].values_by_name
        named = {prefix + each.name: each.value for each in ours}
        assert named | {prefix + "UNSPECIFIED": 0} == {
            name: value.number for name, value in values.items()
        }


APP = """
import time
def called():
    time.sleep(0.002)
if st.button("Add", on_click=called):
    st.session_state.n = 1
for i in range(5):
    st.text("x" * 100)
"""


def test_a_visit(app):
    script = app(APP)

    async def scenario():
        async with worker(script) as host:
            tab = Browser(host)
            tab.trace = trace(9)
            await tab.open()
            tab.trace = trace(1)
            await tab.rerun()
            tab.trace = trace(2, flags=0)
            await tab.click("Add")
            first, second = tab.runs
            assert facts(first) == (1, "OPENED", "FINISHED")
            assert facts(second) == (2, "INTERACTION", "FINISHED")
            assert first.trace == trace(1)
            assert second.trace == trace(2, flags=0)
            assert len(first.span_id) == len(second.span_id) == 8
            assert first.span_id != second.span_id
            assert first.session_id == tab.session_id
            assert first.page == "/"
            assert first.exception_type == ""
            assert phases(first)[-1] == ("BODY", "")
            assert phases(second)[-2:] == [("CALLBACKS", ""), ("BODY", "")]
            callbacks = second.phases[-2]
            assert callbacks.ended_at_us - callbacks.started_at_us >= 2000
            # It follows all that the run has sent, and comes before the state.
            kinds = tab.inbox.kinds("batch", "run", "snapshot", "applied_seq")
            assert "snapshot" in kinds[kinds.index("run") :]
            for at, kind in enumerate(kinds):
                if kind == "run":
                    assert kinds[at + 1] in {"snapshot", "applied_seq"}
            sent = [len(m) for e in tab.inbox.events for m in e.batch.messages]
            assert first.messages + second.messages == len(sent)
            assert first.message_bytes + second.message_bytes == sum(sent)
            assert first.messages >= 8
            snapshots = tab.store.snapshots
            assert snapshots[0].trace == first.trace[:16] + first.span_id + b"\1"
            assert snapshots[-1].trace == second.trace[:16] + second.span_id + b"\0"

    run(scenario())


def test_without_traces(app):
    script = app(APP)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            tab.trace = b"not a trace"
            await tab.click("Add")
            assert [facts(report)[0] for report in tab.runs] == [1, 2]
            assert {report.trace + report.span_id for report in tab.runs} == {b""}
            assert tab.store.snapshots[-1].trace == b""

    run(scenario())


ENDS = {
    "1 / 0": ("EXCEPTION", "ZeroDivisionError"),
    "import json; json.loads('{')": ("EXCEPTION", "json.decoder.JSONDecodeError"),
    "class Own(Exception): pass\nraise Own": ("EXCEPTION", "__main__.Own"),
    "st.stop()": ("STOPPED", ""),
    "raise SystemExit": ("STOPPED", ""),
    "try: 1 / 0\nexcept Exception as e: st.exception(e)": ("FINISHED", "ZeroDivisionError"),
    "try: 1 / 0\nexcept Exception: st.text('a mistake')": ("FINISHED", ""),
    "@st.fragment\ndef part(): 1 / 0\npart()": ("EXCEPTION", "ZeroDivisionError"),
    "this is no python": ("COMPILE_ERROR", "SyntaxError"),
    "": ("FINISHED", ""),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_how_it_ends(app, end):
    outcome, exception = ENDS[end]
    script = app("st.text('before')\n" + end)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            for seq in (1, 2):
                await tab.rerun()
                report = tab.runs[-1]
                assert facts(report)[0] == seq
                assert facts(report)[2] == outcome
                assert report.exception_type == exception
                if outcome == "COMPILE_ERROR":
                    assert "BODY" not in dict(phases(report))
                else:
                    assert report.messages >= 3
            assert len(tab.runs) == 2

    run(scenario())


def test_an_exception_that_the_app_hides(app, monkeypatch):
    script = app("1 / 0")
    module = next(iter(streamlit_compat_runs._HANDLERS.values()))
    name = next(name for name in streamlit_compat_runs._HANDLING if hasattr(module, name))

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            monkeypatch.setattr(module, name, lambda *_: None)
            await tab.rerun()
            assert facts(tab.runs[0]) == (1, "OPENED", "EXCEPTION")
            assert tab.runs[0].exception_type == ""

    run(scenario())


def test_compiling_takes_time(app, monkeypatch):
    script = app("pg = st.navigation(['one.py'])\npg.run()", one="st.text('one')")

    async def scenario():
        async with worker(script) as host:
            original = ScriptCache.get_bytecode

            def slow(self, path):
                time.sleep(0.001)
                return original(self, path)

            monkeypatch.setattr(ScriptCache, "get_bytecode", slow)
            tab = await Browser(host).open()
            await tab.rerun()
            # The page's own is within the body.
            assert [name for name, _ in phases(tab.runs[0])].count("COMPILE") == 1
            assert phases(tab.runs[0])[0] == ("COMPILE", "")
            facts(tab.runs[0])

    run(scenario())


def test_pages_have_paths(app):
    script = app(
        "st.navigation([st.Page('one.py'), st.Page('two.py')]).run()",
        one="st.text('one')",
        two="st.text('two')",
    )

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            message = tab.rerun_message()
            message.rerun_script.page_name = "two"
            await tab.applied(tab.send(message))
            assert tab.texts() == ["two"]
            assert [report.page for report in tab.runs] == ["/", "/two"]

    run(scenario())


FRAGMENTS = """
@st.fragment
def counting():
    st.button("More")
    if st.session_state.get("fails"):
        1 / 0
counting()
if st.button("Fail"):
    st.session_state.fails = True
"""


def test_fragments(app):
    script = app(FRAGMENTS)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            fragment = tab.fragment("More")
            tab.trace = trace(1)
            await tab.click("More", fragment=fragment)
            report = tab.runs[-1]
            assert facts(report) == (2, "FRAGMENT", "FINISHED")
            assert [phase for phase in phases(report) if phase[0] != "CALLBACKS"] == [
                ("FRAGMENT", "counting")
            ]
            # A timer of the page's.
            message = tab.rerun_message(fragment=fragment)
            message.rerun_script.is_auto_rerun = True
            await tab.applied(tab.send(message))
            report = tab.runs[-1]
            assert facts(report) == (0, "APP", "FINISHED")
            assert report.trace == b""
            await tab.click("Fail")
            await tab.click("More", fragment=fragment)
            assert facts(tab.runs[-1]) == (5, "FRAGMENT", "EXCEPTION")
            assert tab.runs[-1].exception_type == "ZeroDivisionError"
            # Streamlit doesn't run what is no more, nor is it waited for.
            await tab.rerun(fragment="gone")
            await tab.rerun()
            assert [report.seq for report in tab.runs] == [1, 2, 0, 4, 5, 7]

    run(scenario())


def test_runs_that_the_script_asks_for(app):
    script = app("""
st.text("x")
if st.button("Add"):
    st.session_state.left = st.query_params.get("n", "3")
left = int(st.session_state.get("left", 0))
if left:
    st.session_state.left = left - 1
    st.rerun()
""")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            tab.trace = trace(1)
            await tab.click("Add")
            runs = tab.runs[1:]
            assert [facts(report) for report in runs] == [
                (2, "INTERACTION", "RERUN"),
                (0, "APP", "RERUN"),
                (0, "APP", "RERUN"),
                (0, "APP", "FINISHED"),
            ]
            # All that comes of a click is in its trace.
            assert {report.trace for report in runs} == {trace(1)}
            assert len({report.span_id for report in runs}) == 4
            assert tab.store.snapshots[-1].trace[16:24] == runs[-1].span_id
            sent = sum(len(event.batch.messages) for event in tab.inbox.events)
            assert sum(report.messages for report in tab.runs) == sent
            # But not for ever.
            tab.query = "n=20"
            await tab.click("Add")
            traced = [report for report in tab.runs[5:] if report.trace]
            assert len(tab.runs) == 5 + 21
            assert len(traced) == 1 + runs_module._MAX_FOLLOWERS

    run(scenario())


def test_a_run_that_is_cut_short_by_the_next(app):
    script = app("""
import time
if st.button("Wait"):
    st.text("waiting")
    while True:
        time.sleep(0.005)
        st.empty()
st.text("done")
""")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            tab.trace = trace(2)
            await tab.click("Wait", wait=False)
            await tab.inbox.until(lambda: tab.texts() == ["waiting"])
            tab.trace = trace(3)
            await tab.rerun()
            await tab.inbox.until(lambda: len(tab.runs) == 3)
            runs = sorted(tab.runs[1:], key=lambda report: report.seq)
            assert [facts(report) for report in runs] == [
                (2, "INTERACTION", "RERUN"),
                (3, "INTERACTION", "FINISHED"),
            ]
            assert [report.trace for report in runs] == [trace(2), trace(3)]
            assert all(report.messages for report in runs)
            assert tab.store.snapshots[-1].trace[:1] in {b"\0", b"\3", b""}

    run(scenario())


def test_messages_that_become_one_run(app):
    script = app(
        FRAGMENTS
        + """
import time
if st.button("Wait"):
    st.text("waiting")
    time.sleep(0.1)
"""
    )

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            await tab.click("Wait", wait=False)
            await tab.inbox.until(lambda: tab.texts() == ["waiting"])
            for number in (3, 4):
                tab.trace = trace(number)
                await tab.click("More", fragment=tab.fragment("More"), wait=False)
            message = tab.rerun_message(fragment=tab.fragment("More"))
            message.rerun_script.is_auto_rerun = True
            await tab.applied(tab.send(message))
            assert [facts(report) for report in tab.runs[1:]] == [
                (2, "INTERACTION", "FINISHED"),
                (4, "FRAGMENT", "FINISHED"),
            ]
            assert tab.runs[-1].trace == trace(4)

    run(scenario())


def test_stopping_a_run(app):
    script = app("""
import time
if st.button("Wait"):
    st.text("waiting")
    while True:
        time.sleep(0.005)
        st.empty()
""")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            host.ask("stop_run", session_id="nobody")
            host.ask("stop_run", session_id=tab.session_id)
            await tab.rerun()
            await tab.click("Wait", wait=False)
            await tab.inbox.until(lambda: tab.texts() == ["waiting"])
            host.ask("stop_run", session_id=tab.session_id)
            await tab.applied(2)
            assert facts(tab.runs[-1]) == (2, "INTERACTION", "STOPPED")
            await tab.rerun()
            assert facts(tab.runs[-1]) == (3, "INTERACTION", "FINISHED")

    run(scenario())


def report_event(host):
    return next(event for event in host.inbox.events if event.WhichOneof("kind") == "run")


def test_nobody_is_there(app):
    script = app("""
import time
if st.button("Wait"):
    st.text("waiting")
    time.sleep(0.1)
    st.text("done")
""")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            await tab.click("Wait", wait=False)
            await tab.inbox.until(lambda: tab.texts() == ["waiting"])
            tab.lose()
            report = await host.inbox.event("run")
            assert facts(report) == (2, "INTERACTION", "FINISHED")
            assert report.messages >= 2
            # A snapshot of the state from before may come first.
            after = host.inbox.events.index(report_event(host)) + 1
            assert (await host.inbox.event("snapshot", after=after)).applied_seq == 2

    run(scenario())


def test_the_end_of_the_session(app):
    script = app("""
import time
if st.button("Wait"):
    st.text("waiting")
    while True:
        time.sleep(0.005)
        st.empty()
""")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            await tab.click("Wait", wait=False)
            await tab.inbox.until(lambda: tab.texts() == ["waiting"])
            host.ask("end_session", session_id=tab.session_id)
            report = await host.inbox.event("run")
            assert facts(report) == (2, "INTERACTION", "STOPPED")

    run(scenario())


@pytest.mark.parametrize("refresh", [False, True])
def test_a_restored_session(app, refresh):
    script = app(APP)
    kept = Store()

    async def before():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            kept.apply(tab.store.snapshots[-1])

    async def after():
        async with worker(script) as host:
            tab = Browser(host)
            tab.trace = trace(5)
            await tab.open(resume_session_id=tab.session_id, restore=kept.plain(), refresh=refresh)
            await tab.inbox.until(lambda: tab.runs)
            assert facts(tab.runs[0]) == (0, "RESTORED", "FINISHED")
            assert tab.runs[0].trace == trace(5)
            assert bool(tab.runs[0].messages) == refresh
            tab.trace = trace(6)
            await tab.rerun()
            assert facts(tab.runs[1]) == (1, "INTERACTION", "FINISHED")
            assert tab.runs[1].trace == trace(6)
            assert len(tab.runs) == 2

    run(before())
    run(after())


def test_a_restored_session_that_runs_late(app):
    script = app(APP)
    kept = Store()

    async def before():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            kept.apply(tab.store.snapshots[-1])

    async def after():
        async with worker(script) as host:
            tab = Browser(host)
            await tab.open(
                resume_session_id=tab.session_id, restore=kept.plain(), notice="You were away"
            )
            tab.trace = trace(6)
            await tab.rerun()
            assert [facts(report) for report in tab.runs] == [
                (0, "RESTORED", "FINISHED"),
                (1, "INTERACTION", "FINISHED"),
            ]
            assert {report.trace for report in tab.runs} == {trace(6)}

    run(before())
    run(after())


def test_a_page_that_is_there_already(app):
    script = app(APP)

    async def scenario():
        async with worker(script) as host:
            tab = Browser(host)
            tab.trace = trace(7)
            await tab.open(refresh=True)
            await tab.inbox.until(lambda: tab.runs)
            assert facts(tab.runs[0]) == (0, "OPENED", "FINISHED")
            assert tab.runs[0].trace == trace(7)
            await tab.rerun()
            assert facts(tab.runs[1]) == (1, "INTERACTION", "FINISHED")

    run(scenario())


def message(kind):
    built = ForwardMsg()
    if kind == "new_session":
        built.new_session.SetInParent()
    else:
        built.script_finished = ForwardMsg.FINISHED_SUCCESSFULLY
    return built


def test_messages_of_several_runs_in_one_batch():
    sent = []
    runs = SessionRuns(make_wire(), "s", sent.append)
    made = [Run("s", Asked(seq=n), of_fragments=False) for n in range(3)]
    for each in made:
        runs.began(each)
    for each in made[:2]:
        each.end(Outcome.RERUN, "/")
        runs.over(each, superseded=False)
    kinds = ["new_session", "a", "b", "new_session", "a", "new_session", "a"]
    batch = [bytes(n) for n in range(len(kinds))]
    runs.sent([message(kind) for kind in kinds], batch)
    runs.report()
    assert [(report.messages, report.message_bytes) for report in sent] == [(3, 3), (2, 7)]
    made[2].end(Outcome.FINISHED, "/")
    runs.over(made[2], superseded=False)
    runs.sent([message("a")], [b"1234"])
    runs.report()
    assert (sent[2].messages, sent[2].message_bytes) == (3, 15)
    # What comes between runs is nobody's.
    runs.sent([message("a")], [b"1234"])
    runs.report()
    assert len(sent) == 3


# --- The app's own spans -----------------------------------------------------------------------


class FakeTraces:
    """As much of OpenTelemetry as it takes."""

    def __init__(self, monkeypatch):
        self.stack = ["nothing"]
        api = types.ModuleType("opentelemetry.trace")
        api.SpanContext = types.SimpleNamespace
        api.NonRecordingSpan = lambda context: context
        api.TraceFlags = int
        api.set_span_in_context = lambda span: span
        context = types.ModuleType("opentelemetry.context")
        context.attach = lambda span: (self.stack.append(span), len(self.stack))[1]
        context.detach = self._detach
        monkeypatch.setitem(sys.modules, "opentelemetry.trace", api)
        monkeypatch.setitem(sys.modules, "opentelemetry.context", context)
        self.current = lambda: self.stack[-1]
        sys.modules["fake_traces"] = self

    def _detach(self, token):
        assert token == len(self.stack)
        self.stack.pop()


def test_the_apps_spans_are_children_of_the_runs(app, monkeypatch):
    traces = FakeTraces(monkeypatch)
    script = app("""
import sys
st.session_state.seen = sys.modules["fake_traces"].current()
st.session_state.setdefault("all", []).append(st.session_state.seen)
""")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            tab.trace = trace(3)
            await tab.rerun()
            untraced, seen = host.values(tab.session_id)["all"]
            assert untraced == "nothing"
            assert seen.trace_id.to_bytes(16, "big") == trace(3)[:16]
            assert seen.span_id.to_bytes(8, "big") == tab.runs[-1].span_id
            assert seen.is_remote
            assert seen.trace_flags == 1
            assert traces.stack == ["nothing"]
            # A version that has none of it.
            monkeypatch.delattr(sys.modules["opentelemetry.trace"], "SpanContext")
            await tab.rerun()
            assert facts(tab.runs[-1]) == (3, "INTERACTION", "FINISHED")

    run(scenario())


def test_the_real_opentelemetry(app):
    api = pytest.importorskip("opentelemetry.trace")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    script = app("""
from opentelemetry import trace
with trace.get_tracer("app").start_as_current_span("work") as span:
    st.session_state.setdefault("spans", []).append(span)
""")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            tab.trace = trace(3)
            await tab.rerun()
            await tab.rerun()
            spans = host.values(tab.session_id)["spans"]
            for span, report in zip(spans, tab.runs, strict=True):
                assert span.parent.trace_id.to_bytes(16, "big") == trace(3)[:16]
                assert span.parent.span_id.to_bytes(8, "big") == report.span_id
                assert span.parent.is_remote
            assert not api.get_current_span().get_span_context().is_valid

    api.set_tracer_provider(sdk.TracerProvider())
    run(scenario())


def test_a_thread_of_the_apps_belongs_to_the_run(app):
    script = app("""
import sys, threading
from streamlit.runtime.scriptrunner import add_script_run_ctx
from streamfleet_worker.runs import current_context
found = []
for adopt in (add_script_run_ctx, lambda thread: thread):
    thread = threading.Thread(target=lambda: found.append(current_context()))
    adopt(thread)
    thread.start()
    thread.join()
st.session_state.found = [current_context(), *found]
""")

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            tab.trace = trace(4)
            await tab.rerun()
            mine, others, nobodys = host.values(tab.session_id)["found"]
            assert mine == others == tab.store.snapshots[-1].trace
            assert nobodys == b""
            await poll(lambda: runs_module.current() is None)

    run(scenario())
