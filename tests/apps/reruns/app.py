"""``st.rerun`` and ``st.stop`` in the middle of a page."""

import streamlit as st

state = st.session_state
state.setdefault("round", 0)
st.write("round", state.round)
if st.button("Thrice", key="thrice"):
    state.left = 3
if state.get("left"):
    state.left -= 1
    state.round += 1
    st.write("never seen in the end")
    st.rerun()
if st.checkbox("Stop", key="stop"):
    st.write("stopping")
    st.stop()
st.write("the end")
