"""What a worker says of its sessions before it ends."""

import asyncio

from fleet import Browser, poll, run, worker
from test_handoff import COUNTER, SLOW


def _snapshots(host):
    """The snapshots that the runner has been sent by the control connection."""
    return [e.snapshot for e in host.inbox.events if e.WhichOneof("kind") == "snapshot"]


def test_what_was_shown_last_is_sent_by_a_way_that_is_still_read(app):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            await tab.click("Add")
            # By the stream, which nobody may have read to its end.
            assert not _snapshots(host)
            await host.control.say_last()
            (last,) = _snapshots(host)
            assert last.full and last.applied_seq == tab.seq
            assert {value.key for value in last.changed} == {"n"}

    run(scenario())


def test_a_run_that_is_about_to_end_is_waited_for(app):
    script = app(SLOW)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun(wait=False)
            await poll(lambda: "started" in tab.texts())
            await host.control.say_last()
            assert "1" in tab.texts()
            assert _snapshots(host)[-1].applied_seq == tab.seq

    run(scenario())


def test_a_run_that_goes_on_is_not_waited_for(app):
    script = app(
        "import time\nst.text('started')\nwhile True:\n    time.sleep(0.02)\n    st.empty()\n"
    )

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun(wait=False)
            await poll(lambda: "started" in tab.texts())
            await asyncio.wait_for(host.control.say_last(), 30)
            assert not _snapshots(host)
            tab.leave()

    run(scenario())


def test_nothing_is_said_when_the_runner_is_gone(app):
    script = app(COUNTER)

    async def scenario():
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            host.control.connection_lost(None)
            await host.control.say_last()
            await host.control.close()
            assert host.control.stop_requested.is_set()
            assert not _snapshots(host)

    run(scenario())
