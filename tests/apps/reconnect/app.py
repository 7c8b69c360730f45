"""The connection is lost and comes back: the session goes on."""

import streamlit as st

st.session_state.setdefault("count", 0)
if st.button("Add", key="add"):
    st.session_state.count += 1
st.text_input("Text", key="text")
st.write(st.session_state.count, st.session_state.text)
