"""Fragments: nested, with state, reaching out, and rerunning themselves or all."""

import streamlit as st

state = st.session_state
for name in ("runs", "outer", "inner", "loops"):
    state.setdefault(name, 0)
state.runs += 1


@st.fragment
def inner() -> None:
    """Counts its own runs."""
    state.inner += 1
    st.button("Inner", key="inner_button")
    st.write("inner", state.inner)


@st.fragment
def outer() -> None:
    """Holds another fragment."""
    state.outer += 1
    st.button("Outer", key="outer_button")
    st.write("outer", state.outer)
    inner()
    if st.button("All", key="all_button"):
        st.rerun()


@st.fragment
def looping() -> None:
    """Reruns itself until the count is a multiple of three."""
    if st.button("Loop", key="loop_button") or state.loops % 3:
        state.loops += 1
        if state.loops % 3:
            st.rerun(scope="fragment")
    st.write("loops", state.loops)


@st.fragment
def failing() -> None:
    """Raises when told to."""
    if st.button("Fail", key="fail_button"):
        raise RuntimeError("in a fragment")
    st.write("fine")


st.write("runs", state.runs)
outer()
looping()
failing()
with st.sidebar:
    inner_again = st.fragment(lambda: st.toggle("Side", key="side"))
    inner_again()
