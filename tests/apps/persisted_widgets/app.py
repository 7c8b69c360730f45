"""Widgets that come and go, with and without their value."""

import streamlit as st

if st.toggle("Show", value=True, key="show"):
    st.text_input("Forgetful", key="forgetful")
    st.text_input("Lasting", key="lasting", persist_state="session")
st.write(st.session_state.get("forgetful"), st.session_state.get("lasting"))
