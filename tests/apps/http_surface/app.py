"""The server's own routes."""

import streamlit as st

st.write("nothing to see")
