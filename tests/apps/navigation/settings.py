"""A page in a file of its own."""

import streamlit as st

st.selectbox("Theme", ["light", "dark"], key="theme")
st.write("settings", st.session_state.theme, dict(st.query_params))
