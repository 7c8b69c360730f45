"""Fragments that run on a timer, one of which ends."""

import streamlit as st

state = st.session_state
state.setdefault("ticks", 0)


@st.fragment(run_every=2)
def ticking() -> None:
    """Counts the ticks."""
    state.ticks += 1
    st.write("ticks", state.ticks)
    if state.ticks < 3:
        child()


@st.fragment(run_every="5s")
def child() -> None:
    """Lives for two ticks."""
    st.write("child at", state.ticks)


ticking()
st.button("Rerun", key="rerun")
