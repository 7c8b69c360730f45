"""A theme from the configuration file, and options read and set at run time."""

import streamlit as st

st.write(st.get_option("theme.primaryColor"), st.get_option("client.toolbarMode"))
st.set_option("client.showErrorDetails", False)
st.write(st.get_option("client.showErrorDetails"))
raise RuntimeError("without details")
