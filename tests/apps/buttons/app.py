"""Buttons, and what a press changes."""

import streamlit as st

state = st.session_state
state.setdefault("count", 0)


def add(amount: int, *, times: int = 1) -> None:
    """Adds to the count."""
    state.count += amount * times


st.button("One", key="one", on_click=add, args=[1])
st.button("Ten", key="ten", on_click=add, args=[5], kwargs={"times": 2}, type="primary")
if st.button("Plain", icon=":material/add:"):
    st.write("pressed")
st.button("Disabled", disabled=True, key="disabled")
st.link_button("Link", "https://example.com", type="tertiary")
if st.link_button("Counted link", "https://example.com", key="link", on_click="rerun"):
    st.write("followed")
st.write("count", state.count)
