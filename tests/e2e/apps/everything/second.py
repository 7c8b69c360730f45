"""The second page: a text that the app keeps while the user is elsewhere."""

import streamlit as st

state = st.session_state


def keep() -> None:
    """Copies what was typed to where leaving the page doesn't remove it."""
    state.kept = state.note


state.note = state.kept
st.text_input("Note", key="note", on_change=keep)
st.text(f"kept={state.kept};count={state.count};")
