"""Counts clicks, and writes down each run: when, which session, where, and the count it began with."""

import os
import time

import streamlit as st
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
text = st.text_input("Text", key="text")
upload = st.file_uploader("File", key="file")
st.text(f"text={text};")
st.text(f"count={st.session_state.count};")
st.text(f"pid={os.getpid()};")
st.text(f"runner={os.environ['RUNNER']};")
if upload is not None:
    content = upload.getvalue()
    st.text(f"size={len(content)};")
    st.download_button("Back", content, file_name="back.bin", key="back")
