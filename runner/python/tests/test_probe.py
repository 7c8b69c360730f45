"""Trying the app, in a session that is none."""

import pytest
from fleet import Browser, run, worker


async def probed(host, number=7, limit_ms=10_000):
    """What comes of one."""
    before = len(host.inbox.events)
    host.ask("probe", number=number, limit_ms=limit_ms)
    answer = await host.inbox.event("probed", after=before)
    assert answer.number == number
    return answer


def test_an_app_that_works(app):
    script = app("""
st.session_state.setdefault("n", 0)
st.text_input("Text", key="text")
if st.session_state.n < 2:
    st.session_state.n += 1
    st.rerun()
@st.fragment
def part():
    st.button("Press")
part()
st.text(st.context.headers.get("X", "nothing"))
""")

    async def scenario():
        async with worker(script) as host:
            answer = await probed(host)
            assert (answer.exception_type, answer.message, answer.timed_out) == ("", "", False)
            assert answer.run_us > 0
            # Nobody knows of it, before as after.
            assert not host.sessions.list_sessions()
            told = host.inbox.kinds()
            assert set(told) <= {"load", "probed"}, told
            tab = await Browser(host).open()
            await tab.rerun()
            assert tab.texts() == ["nothing"]
            assert not (await probed(host, 8)).exception_type

    run(scenario())


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ("st.text('so far')\nraise ValueError('it is broken')", "ValueError", "it is broken"),
        ("import no_such_module", "ModuleNotFoundError", "No module named 'no_such_module'"),
        ("def (", "SyntaxError", "invalid syntax"),
        ("class Own(Exception):\n    pass\nraise Own('mine')", "__main__.Own", "mine"),
        ("@st.fragment\ndef part():\n    raise KeyError('inside')\npart()", "KeyError", "inside"),
    ],
)
def test_an_app_that_does_not(app, source, kind, said):
    script = app(source)

    async def scenario():
        async with worker(script) as host:
            answer = await probed(host)
            assert answer.exception_type == kind
            assert said in answer.message
            assert not answer.timed_out

    run(scenario())


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    st.exception(error)",
        "st.stop()\nraise ValueError('never')",
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    st.error('handled')",
    ],
)
def test_what_a_script_catches_is_no_failure(app, source):
    script = app(source)

    async def scenario():
        async with worker(script) as host:
            assert not (await probed(host)).exception_type

    run(scenario())


def test_an_app_that_takes_too_long(app):
    script = app("import time\nwhile True:\n    time.sleep(0.01)\n    st.text('on')")

    async def scenario():
        async with worker(script) as host:
            answer = await probed(host, limit_ms=200)
            assert answer.timed_out
            assert answer.run_us >= 200_000

    run(scenario())


def test_its_files_are_gone_with_it(app):
    script = app("st.audio(b'x' * 100)")

    async def scenario():
        async with worker(script) as host:
            assert not (await probed(host)).exception_type
            kinds = host.inbox.kinds("media_stored", "media_removed")
            assert kinds.count("media_stored") == kinds.count("media_removed")

    run(scenario())
