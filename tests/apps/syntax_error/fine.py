"""Compiles."""

import streamlit as st

st.write("fine")
