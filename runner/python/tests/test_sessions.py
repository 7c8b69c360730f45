import asyncio
from types import SimpleNamespace

from streamfleet_worker import sessions
from streamfleet_worker.sessions import FleetSessionStorage


def info(session_id, shut_down):
    session = SimpleNamespace(id=session_id, shutdown=lambda: shut_down.append(session_id))
    return SimpleNamespace(session=session)


def test_a_session_is_kept_for_its_time_and_then_shut_down():
    async def scenario():
        shut_down, ended = [], asyncio.Queue()
        storage = FleetSessionStorage(0.01, ended.put_nowait)
        storage.save(info("a", shut_down))
        assert storage.get("a").session.id == "a"
        assert await ended.get() == "a"
        assert storage.get("a") is None
        assert shut_down == ["a"]

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_session_taken_out_is_left_alone():
    async def scenario():
        shut_down, ended = [], []
        storage = FleetSessionStorage(0.005, ended.append)
        storage.save(info("a", shut_down))
        storage.delete("a")
        storage.delete("a")
        await asyncio.sleep(0.02)
        assert (shut_down, ended) == ([], [])

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_the_oldest_gives_way(monkeypatch):
    monkeypatch.setattr(sessions, "_MAX_STORED", 2)

    async def scenario():
        shut_down, ended = [], []
        storage = FleetSessionStorage(60, ended.append)
        for name in "abc":
            storage.save(info(name, shut_down))
        # Saved again, "b" is the youngest.
        storage.save(info("b", shut_down))
        storage.save(info("d", shut_down))
        assert [kept.session.id for kept in storage.list()] == ["b", "d"]
        assert ended == ["a", "c"]

    asyncio.run(scenario())
