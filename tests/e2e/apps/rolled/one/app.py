"""Counts clicks, and writes down each run: the revision that is rolled away."""

import os
import time

import streamlit as st
from basket import Basket
from streamlit.runtime.scriptrunner import get_script_run_ctx

context = get_script_run_ctx()
assert context is not None
st.session_state.setdefault("count", 0)
line = f"{time.time_ns()} {context.session_id} {os.environ['RUNNER']} {st.session_state.count}\n"
ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(ledger, line.encode())  # one write, so that lines of several processes don't mix
os.close(ledger)

if st.button("Click", key="click"):
    st.session_state.count += 1
if st.button("Fill", key="fill"):
    st.session_state.basket = Basket(["apples"])
st.text(f"count={st.session_state.count};")
st.text(f"runner={os.environ['RUNNER']};")
st.text(f"basket={'full' if 'basket' in st.session_state else 'none'};")
st.text("version=one;")
