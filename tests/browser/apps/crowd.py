"""Counts clicks, and waits for as long as nobody stops it."""

import time

import streamlit as st

st.session_state.setdefault("count", 0)
st.session_state.count += st.button("Count")
st.write(f"Count is {st.session_state.count}")
if st.button("Wait"):
    st.write("Waiting")
    while True:
        time.sleep(0.05)
        st.empty()
