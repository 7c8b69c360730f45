"""Counts clicks, and says which process and session it runs in."""

import os

import streamlit as st

st.session_state.setdefault("count", 0)
if st.button("Click", key="click"):
    st.session_state.count += 1
st.text_input("Text", key="text")
st.file_uploader("File", key="file")
st.text(f"count={st.session_state.count};")
st.text(f"pid={os.getpid()};")
st.text(f"user={st.user.get('email', 'nobody')};")
