"""The smallest app with state: what a click costs when the script does nothing."""

import streamlit as st

st.session_state.setdefault("count", 0)
if st.button("Click", key="click"):
    st.session_state.count += 1
st.text(f"count={st.session_state.count};")
