"""Widgets that are known by their parameters only."""

import streamlit as st

name = st.text_input("Name")
size = st.slider("Size", 1, 5)
if st.checkbox("Shout"):
    name = name.upper()
st.write(name * size)
