"""The second page."""

import streamlit as st

st.session_state.setdefault("visited", []).append("second")
st.write(st.session_state.visited)
