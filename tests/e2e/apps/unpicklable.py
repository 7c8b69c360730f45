"""Keeps what can be written down beside what can't, and says what of it is gone."""

import os
import socket
import threading

import streamlit as st

state = st.session_state
if "count" not in state:
    state.count = 0
    state.double = lambda number: 2 * number
    state.lock = threading.Lock()
    state.numbers = (number for number in range(3))
    state.socket = socket.socket()
if st.button("Click", key="click"):
    state.count += 1
names = ["double", "lock", "numbers", "socket"]
st.text(f"count={state.count};")
st.text(f"doubled={state.double(state.count)};")
st.text(f"gone={' '.join(name for name in names if name not in state)};")
st.text(f"runner={os.environ['RUNNER']};")
