"""The page of the app."""

import streamlit as st

st.write("served by st.App")
st.button("Press", key="press")
