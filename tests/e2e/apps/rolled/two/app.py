"""Counts clicks, and writes down each run: the revision that is rolled out. It knows of no baskets."""

import os
import time

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

if os.environ.get("BROKEN") == "1":
    raise RuntimeError("this machine has no database")

context = get_script_run_ctx()
assert context is not None
st.session_state.setdefault("count", 0)
line = f"{time.time_ns()} {context.session_id} {os.environ['RUNNER']} {st.session_state.count}\n"
ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(ledger, line.encode())  # one write, so that lines of several processes don't mix
os.close(ledger)

st.header("Now with a heading")
if st.button("Click", key="click"):
    st.session_state.count += 1
st.text(f"count={st.session_state.count};")
st.text(f"runner={os.environ['RUNNER']};")
st.text(f"basket={'full' if 'basket' in st.session_state else 'none'};")
st.text("version=two;")
