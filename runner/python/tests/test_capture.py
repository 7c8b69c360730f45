"""Snapshots of sessions, made by a real Streamlit in this process."""

import pytest
from fleet import Browser, run, worker


@pytest.fixture
def app(tmp_path):
    def write(source):
        path = tmp_path / "app.py"
        path.write_text("import streamlit as st\n" + source)
        return path

    return write


def test_a_counter(app):
    script = app("""
if "n" not in st.session_state:
    st.session_state.n = 0
if st.button("Add"):
    st.session_state.n += 1
st.text(st.session_state.n)
""")

    async def scenario():
        async with worker(script) as w:
            tab = await Browser(w).open()
            await tab.rerun()
            first = tab.store.snapshots[-1]
            assert first.full
            assert first.core
            assert tab.store.keys == ["n"]
            assert first.applied_seq == 1
            assert first.connection == 1
            assert first.session_id == tab.session_id
            await tab.click("Add")
            second = tab.store.snapshots[-1]
            assert not second.full
            assert tab.texts() == ["1"]
            await tab.rerun()
            assert len(tab.store.snapshots) == 2
            assert tab.store.applied == 3

    run(scenario())
