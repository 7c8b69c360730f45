"""Callbacks see the new value, run before the script, and can set other widgets."""

import streamlit as st

state = st.session_state
state.setdefault("log", [])


def changed(key: str) -> None:
    """Notes the new value and passes it on."""
    state.log.append(f"{key}={state[key]}")
    if key == "celsius":
        state.fahrenheit = state.celsius * 9 / 5 + 32
    else:
        state.celsius = (state.fahrenheit - 32) * 5 / 9


def again() -> None:
    """Asks for a rerun from inside a callback."""
    state.log.append("again")
    st.rerun()


def fail() -> None:
    """Raises inside a callback."""
    raise ValueError("in a callback")


st.number_input("C", value=0.0, key="celsius", on_change=changed, args=["celsius"])
st.number_input("F", value=32.0, key="fahrenheit", on_change=changed, args=["fahrenheit"])
st.button("Again", key="again", on_click=again)
st.button("Fail", key="fail", on_click=fail)
st.write(state.log)
