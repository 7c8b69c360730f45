"""Sessions whose state another revision of the app has written, and this one can't read."""

import pytest
from fleet import Browser, run, worker
from streamfleet_worker.restore import STATE_OUTDATED

APP = """
s = st.session_state
s.setdefault("n", 0)
if st.button("Add"):
    s.n += 1
st.text(f"n={s.n}")
"""
# Of a class in a module that is no longer there.
GONE = b"\x00cno_such_module\nBasket\n."


async def left(host):
    """A session that was here, and has left: its tab, and what was kept of it."""
    tab = await Browser(host).open()
    await tab.rerun()
    await tab.click("Add")
    assert tab.texts() == ["n=1"]
    host.ask("release", session_id=tab.session_id)
    await tab.inbox.event("released")
    assert host.session(tab.session_id) is None
    return tab, tab.store.plain()


def restored(kept, **fields):
    return {"core": kept["core"], "values": {**kept["values"], "basket": GONE}, **fields}


async def reconnected(tab, restore, **fields):
    return await tab.open(
        restore=restore, resume_session_id=tab.session_id, refresh=False, bound=False, **fields
    )


def test_it_goes_back_where_it_can(app):
    script = app(APP)

    async def scenario():
        async with worker(script) as host:
            tab, kept = await left(host)
            await reconnected(tab, restored(kept, foreign=True, may_return=True))
            unloadable = await tab.inbox.event("unloadable")
            assert unloadable.key == "basket"
            assert "no_such_module" in unloadable.reason
            assert not unloadable.afresh
            # Nothing of it is here, and nothing was kept of it that would replace what there is.
            assert host.session(tab.session_id) is None
            assert tab.inbox.kinds()[-1] == "unloadable"
            assert not tab.inbox.kinds("snapshot", "released", "batch")
            assert not host.inbox.kinds("session_ended", "snapshot")
            # Back with the revision that knows the class, it is whole.
            await reconnected(tab, {**kept, "foreign": False})
            await tab.click("Add")
            assert tab.texts() == ["n=2"]

    run(scenario())


@pytest.mark.parametrize("replayed", [False, True])
def test_it_starts_afresh_where_it_can_not(app, replayed):
    script = app(APP)

    async def scenario():
        async with worker(script) as host:
            tab, kept = await left(host)
            until = tab.seq + 1 if replayed else 0
            restore = restored(kept, foreign=True, may_return=False)
            before = len(tab.store.snapshots)
            await reconnected(tab, restore, replay_until=until)
            assert (await tab.inbox.event("unloadable")).afresh
            if replayed:
                # A click that was on its way counts in the new one.
                await tab.click("Add")
            expected = ["n=1"] if replayed else ["n=0"]
            await tab.inbox.until(lambda: tab.texts() == expected and tab.toasts())
            assert tab.toasts() == [STATE_OUTDATED]
            await tab.inbox.until(lambda: len(tab.store.snapshots) > before)
            assert "basket" not in tab.store.values
            await tab.click("Add")
            assert tab.texts() == [f"n={1 + replayed}"]

    run(scenario())


def test_within_a_revision_the_rest_is_kept(app):
    script = app(APP)

    async def scenario():
        async with worker(script) as host:
            tab, kept = await left(host)
            await reconnected(tab, restored(kept, foreign=False))
            await tab.click("Add")
            assert tab.texts() == ["n=2"]
            assert "unloadable" not in tab.inbox.kinds()
            assert "basket" in tab.store.unsaved

    run(scenario())


@pytest.mark.parametrize("may_return", [False, True])
def test_a_session_that_is_none_for_this_revision(app, may_return):
    script = app(APP)

    async def scenario():
        async with worker(script) as host:
            tab, kept = await left(host)
            restore = {"core": b"\xff" + kept["core"], "values": {}, "foreign": True}
            await reconnected(tab, {**restore, "may_return": may_return})
            unloadable = await tab.inbox.event("unloadable")
            assert (unloadable.key, unloadable.afresh) == ("", not may_return)
            if may_return:
                assert tab.inbox.kinds()[-1] == "unloadable"
                return
            tab.session_id = (await tab.inbox.event("bound")).session_id
            await tab.rerun()
            assert tab.texts() == ["n=0"]
            assert tab.toasts() == [STATE_OUTDATED]

    run(scenario())
