"""Says which process serves it, counts, and repeats what was typed."""

import os

import streamlit as st

st.session_state.setdefault("count", 0)
st.session_state.count += st.button("Count")
text = st.text_input("Text")
st.write(f"Process {os.getpid()}, count {st.session_state.count}, text {text!r}")
