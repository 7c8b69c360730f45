"""Counts clicks. A press of the second button is over only when a file is there."""

import os
import time

import streamlit as st

st.session_state.setdefault("count", 0)
if st.button("Click", key="click"):
    st.session_state.count += 1
if st.button("Wait", key="wait"):
    st.text("waiting;")
    while not os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)
    st.session_state.count += 1
st.text(f"count={st.session_state.count};")
st.text(f"runner={os.environ['RUNNER']};")
