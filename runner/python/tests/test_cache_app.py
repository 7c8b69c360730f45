"""Apps with `st.cache_data` in workers that share a cache."""

import asyncio

import pytest
from elsewhere import elsewhere
from fleet import Browser, poll, run, worker
from nodes import Runner, installed
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.runtime.caching import cache_data_api

APP = """
from pathlib import Path

@st.cache_data{arguments}
def load(x):
    with Path({log!r}).open("a") as file:
        file.write(f"{{x}}\\n")
    st.text(f"loading {{x}}")
    return {{"x": x}}

st.button("Again")
if st.button("Clear"):
    load.clear()
st.text(load(1)["x"])
"""


@pytest.fixture
def runner(tmp_path, monkeypatch):
    installed(monkeypatch)
    runner = Runner(tmp_path)
    yield runner
    runner.close()


@pytest.fixture
def script(app, tmp_path):
    def write(arguments=""):
        return app(APP.format(arguments=arguments, log=str(tmp_path / "log")))

    return write


def calls(tmp_path):
    log = tmp_path / "log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def sharing(folder):
    return {
        "calls_path": str(folder / "calls"),
        "cache_stamps_path": str(folder / "stamps"),
        "max_cached_value_bytes": 1 << 20,
    }


def test_workers_share_what_an_app_caches(runner, script, tmp_path):
    path = script()

    async def scenario():
        async with worker(path, **sharing(tmp_path)) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            assert tab.texts() == ["loading 1", "1"]
            assert calls(tmp_path) == 1
            # With what it has written, and cleared here when it is there.
            there = await asyncio.to_thread(elsewhere, _there, path, tmp_path)
            assert there == [["loading 1", "1"], ["loading 1", "1"]]
            assert calls(tmp_path) == 2
            await tab.rerun()
            assert tab.texts() == ["loading 1", "1"]
            assert calls(tmp_path) == 2

    run(scenario())


def test_the_cache_is_asked_on_behalf_of_the_run(runner, app, tmp_path):
    path = app("""
@st.cache_data
def double(x):
    return 2 * x
st.text(sum(double(x % 2) for x in range(5)))
""")

    async def scenario():
        async with worker(path, **sharing(tmp_path)) as host:
            tab = Browser(host)
            tab.trace = bytes(range(1, 26))
            await tab.open()
            await tab.rerun()
            (first,) = tab.runs
            asked = [
                getattr(request, kind)
                for request in runner.requests
                if (kind := request.WhichOneof("kind")) in {"get_value", "claim_value"}
            ]
            assert {type(request).__name__ for request in asked} == {"GetValue", "ClaimValue"}
            assert {request.trace for request in asked} == {
                tab.trace[:16] + first.span_id + tab.trace[24:]
            }
            assert first.cache_hits == 3
            tab.trace = b""
            await tab.rerun()
            assert tab.runs[1].cache_hits == 5

    run(scenario())


def _there(path, folder):
    async def scenario():
        async with worker(path, **sharing(folder)) as host:
            tab = await Browser(host, "22222222-2222-4222-8222-222222222222").open()
            await tab.rerun()
            first = tab.texts()
            await tab.click("Clear")
            return [first, tab.texts()]

    return run(scenario())


def test_the_menu_clears_everything_everywhere(runner, script, tmp_path):
    async def scenario():
        async with worker(script(), **sharing(tmp_path)) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            tab.send(BackMsg(clear_cache=True))
            await tab.rerun()
            assert calls(tmp_path) == 2
            await poll(lambda: runner.kinds("clear_values"))

    run(scenario())


def test_an_app_goes_on_when_the_runner_is_gone(runner, script, tmp_path):
    async def scenario():
        async with worker(script(), **sharing(tmp_path)) as host:
            runner.close()
            tab = await Browser(host).open()
            await tab.rerun()
            await tab.rerun()
            assert tab.texts() == ["loading 1", "1"]
            await tab.click("Clear")
            assert tab.texts() == ["loading 1", "1"]
            assert calls(tmp_path) == 2

    run(scenario())


def test_without_a_shared_cache_streamlits_is_untouched(script, tmp_path):
    names = cache_data_api.DataCache, cache_data_api._data_caches

    async def scenario():
        async with worker(script()) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            await tab.rerun()
            assert calls(tmp_path) == 1

    run(scenario())
    assert names == (cache_data_api.DataCache, cache_data_api._data_caches)


# --- sessions -----------------------------------------------------------------------------

SESSION = '(scope="session")'


def test_each_session_has_its_own(runner, script, tmp_path):
    async def scenario():
        async with worker(script(SESSION), **sharing(tmp_path)) as host:
            one = await Browser(host).open()
            two = await Browser(host, "22222222-2222-4222-8222-222222222222").open()
            for tab in (one, two, one, two):
                await tab.rerun()
            assert calls(tmp_path) == 2
            assert len({function for function, _ in runner.values}) == 2

    run(scenario())


def test_what_a_session_has_goes_with_it(runner, script, tmp_path):
    path = script(SESSION)

    async def scenario():
        async with worker(path, **sharing(tmp_path)) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            host.ask("release", session_id=tab.session_id)
            await poll(lambda: host.session(tab.session_id) is None)
            assert not cache_data_api._data_caches._function_caches.get(tab.session_id)
            again = Browser(host)
            restore = tab.store.plain()
            await again.open(resume_session_id=tab.session_id, restore=restore)
            await again.rerun()
            assert calls(tmp_path) == 1
            assert len(runner.values) == 1
            # It has another owner.
            host.ask("end_session", session_id=again.session_id)
            await poll(lambda: host.session(again.session_id) is None)
            last = await Browser(host).open()
            await last.rerun()
        # Nor does it end with its process.
        assert calls(tmp_path) == 1
        assert len(runner.values) == 1
        assert "clear_values" not in runner.kinds()

    run(scenario())


def test_what_a_session_has_ends_with_it(runner, script, tmp_path):
    async def scenario():
        async with worker(script(SESSION), **sharing(tmp_path)) as host:
            other = await Browser(host, "22222222-2222-4222-8222-222222222222").open()
            await other.rerun()
            tab = await Browser(host).open()
            await tab.rerun()
            assert len(runner.values) == 2
            tab.leave()
            await poll(lambda: len(runner.values) == 1)
            await other.rerun()
            assert calls(tmp_path) == 2

    run(scenario())
