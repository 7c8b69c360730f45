"""Fragments that run side by side in a full run."""

import threading

import streamlit as st

state = st.session_state
meeting = threading.Barrier(2)


def work(name: str) -> None:
    """Shows something, and a button that reruns just this."""
    st.write(name, "works")
    st.button("Again", key=f"again_{name}")
    columns = st.columns(2)
    columns[0].write(name)
    columns[1].metric("Result", len(name))


@st.fragment(parallel=True)
def left() -> None:
    """Meets the right one, which takes both at once."""
    if not state.get("met"):
        meeting.wait(30)
    work("left")


@st.fragment(parallel=True)
def right() -> None:
    """Meets the left one."""
    if not state.get("met"):
        meeting.wait(30)
    work("right")


left()
right()
state.met = True
st.write("the end")
