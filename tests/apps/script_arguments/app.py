"""Arguments behind ``--`` reach the script."""

import sys

import streamlit as st

st.write(sys.argv[1:], __name__, __file__.rsplit("/", 1)[-1])
