"""Long runs that are stopped by the user or by another click."""

import time

import streamlit as st

long, short = st.button("Long", key="long"), st.button("Short", key="short")
if long:
    st.write("long run")
    place = st.empty()
    for step in range(3_000):
        st.session_state.step = step
        time.sleep(0.02)
        place.empty()
    st.write("never reached")
if short:
    st.write("short run")
st.write("idle", "step" in st.session_state)
