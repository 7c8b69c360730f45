"""Counts clicks, and has buttons that no app should have."""

import ctypes
import os
import signal

import streamlit as st


@st.cache_resource
def hoard():
    return []


st.session_state.setdefault("count", 0)
if st.button("Click", key="click"):
    st.session_state.count += 1
if st.button("Spin", key="spin"):
    while True:
        pass
if st.button("Hang", key="hang"):
    # Unlike time.sleep, this keeps the interpreter to itself: nothing else in the process goes on.
    ctypes.PyDLL(None).sleep(3600)
if st.button("Die", key="die"):
    os.kill(os.getpid(), signal.SIGKILL)
if st.button("Hoard", key="hoard"):
    hoard().append(os.urandom(300_000_000))
st.text(f"count={st.session_state.count};")
st.text(f"pid={os.getpid()};")
