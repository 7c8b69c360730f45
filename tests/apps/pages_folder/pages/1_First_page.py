"""The first page."""

import streamlit as st

st.session_state.setdefault("visited", []).append("first")
st.button("First", key="first")
st.write(st.session_state.visited)
