"""Keeps going whatever comes over the wire."""

import streamlit as st

st.button("Press", key="press")
st.write("fine")
