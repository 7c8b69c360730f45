"""The smallest app with state."""

import streamlit as st

if "count" not in st.session_state:
    st.session_state.count = 0
if st.button("Add", key="add"):
    st.session_state.count += 1
st.write("count", st.session_state.count)
