"""What is on the page while the script is busy."""

import time

import streamlit as st

if st.button("Busy", key="busy"):
    place = st.empty()
    with st.spinner("Busy now"):
        for _ in range(3_000):
            time.sleep(0.02)
            place.empty()
st.write("idle")
