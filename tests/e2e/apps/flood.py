"""Sends far more than a slow browser takes."""

import streamlit as st

st.button("Flood", key="flood")
placeholder = st.empty()
for number in range(200):
    placeholder.text(f"{number} " + "x" * 1_000_000)
st.text("done;")
