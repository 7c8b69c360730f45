"""Says which process serves it, and counts."""

import os

import streamlit as st

st.session_state.setdefault("count", 0)
st.session_state.count += st.button("Count")
st.write(f"Process {os.getpid()}, count {st.session_state.count}")
