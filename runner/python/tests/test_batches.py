"""What leaves together: a run's messages, and what the runner is told of it."""

import asyncio

from fleet import Browser, run, worker
from streamfleet_worker import streamlit_compat
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg


def batches(tab):
    return [
        [message.WhichOneof("type") for message in tab.messages_of(event)]
        for event in tab.inbox.events
        if event.WhichOneof("kind") == "batch"
    ]


class Reader(Browser):
    """A tab that looks at its batches."""

    def messages_of(self, event):
        parse = type(self.messages[0]).FromString
        return [parse(data) for data in event.batch.messages]


def test_a_short_run_is_one_batch(app, monkeypatch):
    # Long enough for this machine, whatever else it does.
    monkeypatch.setattr(streamlit_compat, "_PATIENCE", 5.0)
    path = app("for i in range(5):\n    st.text(i)\n")

    async def scenario():
        async with worker(path) as host:
            tab = await Reader(host).open()
            await tab.rerun()
            (batch,) = batches(tab)
            assert batch[0] == "new_session"
            assert batch.count("delta") == 5
            assert "script_finished" in batch
            # The report goes before the snapshot, and both after what the user waits for.
            kinds = tab.inbox.kinds("batch", "run", "snapshot")
            assert kinds == ["batch", "run", "snapshot"]

    run(scenario())


def test_a_long_run_is_seen_to_go_on(app, tmp_path):
    path = app("""
import pathlib, time
st.text("first")
while not pathlib.Path(__file__).with_name("go").exists():
    time.sleep(0.001)
st.text("last")
""")

    async def scenario():
        async with worker(path) as host:
            tab = await Reader(host).open()
            await tab.rerun(wait=False)
            await tab.inbox.until(lambda: "first" in tab.texts())
            assert "script_finished" not in tab.kinds()
            (tmp_path / "go").touch()
            await tab.inbox.until(lambda: "script_finished" in tab.kinds())
            assert tab.texts() == ["first", "last"]

    run(scenario())


def test_what_is_in_no_hurry_is_sent_without_company(app):
    path = app("st.text(1)\n")

    async def scenario():
        async with worker(path) as host:
            tab = await Reader(host).open()
            report = host.wire.run_report(session_id="a")

            def untold():
                raise AssertionError("it could have been sent")

            tab.stream.send_soon(untold, run=report)
            assert tab.runs == []
            await tab.inbox.until(lambda: tab.runs)
            # What comes next takes it along, behind it.
            count = len(tab.inbox.events)
            tab.stream.send_soon(untold, run=report)
            tab.stream.send(applied_seq=0)
            later = [event.WhichOneof("kind") for event in tab.inbox.events[count:]]
            assert later == ["run", "applied_seq"]
            # And so does a large batch.
            tab.stream.send_soon(untold, run=report)
            large = ForwardMsg(hash="h" * 100_000).SerializeToString()
            tab.stream.send_batch([large], len(large))
            assert [event.WhichOneof("kind") for event in tab.inbox.events[-2:]] == ["run", "batch"]
            # And so does the end.
            tab.stream.send_soon(untold, run=report)
            tab.stream.finish()
            assert len(tab.runs) == 4

    run(scenario())


def test_what_the_runner_closes_the_stream_before_is_told_another_way(app):
    path = app("st.text(1)\n")

    async def scenario():
        async with worker(path) as host:
            tab = await Reader(host).open()
            report = host.wire.run_report(session_id="a")
            told = []
            tab.stream.send_soon(lambda: told.append("first"), run=report)
            tab.stream.abort()
            tab.stream.send(applied_seq=0)
            tab.stream.send_soon(lambda: told.append("second"), run=report)
            await asyncio.sleep(0)
            assert told == ["first", "second"]
            assert tab.runs == []

    run(scenario())
