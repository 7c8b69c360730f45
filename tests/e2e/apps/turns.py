"""Takes a while for each run, and notes when it began and ended."""

import os
import time

import streamlit as st


def note(event):
    with open(os.environ["LEDGER"], "a") as ledger:
        ledger.write(f"{event}\n")


runs = st.session_state.runs = st.session_state.get("runs", 0) + 1
st.button("Click", key="click")
note("begin")
time.sleep(0.05)
note("end")
st.text(f"runs={runs};")
