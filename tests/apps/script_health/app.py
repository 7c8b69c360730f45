"""The script health check, when it is switched on."""

import streamlit as st

st.write("fine")
