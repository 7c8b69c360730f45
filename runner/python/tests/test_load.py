"""How late the worker's event loop is."""

import asyncio
import time

from fleet import run, worker
from streamfleet_worker import load as load_module
from streamfleet_worker.load import LoadReporter, look_after


def test_the_loops_worst_lag_is_told_once(monkeypatch):
    monkeypatch.setattr(load_module, "_IDLE_BEFORE_COLLECTION", 0.01)
    monkeypatch.setattr(load_module, "_REPORT_INTERVAL", 0.05)

    async def scenario():
        lags = asyncio.Queue()
        load = LoadReporter(lambda: lags.put_nowait(load.take_lag_us()))
        task = asyncio.create_task(look_after(load))
        await asyncio.sleep(0)
        time.sleep(0.15)  # noqa: ASYNC251
        assert 100_000 <= await lags.get() < 1_000_000
        load.changed()
        assert await lags.get() < 100_000
        task.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_the_runner_is_told_of_a_loop_that_is_stuck(app):
    async def scenario():
        async with worker(app("st.text('x')")) as host:
            time.sleep(0.8)  # noqa: ASYNC251
            load = await host.inbox.event("load")
            assert 100_000 <= load.loop_lag_us < 5_000_000

    run(scenario())
