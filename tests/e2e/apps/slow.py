"""Runs for longer than anybody waits."""

import time

import streamlit as st

st.text("running;")
time.sleep(3600)
