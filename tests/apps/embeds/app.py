"""Other documents inside the page."""

import streamlit as st
import streamlit.components.v1 as components

st.iframe("https://example.com", height=100)
st.iframe("<h1>Inline</h1>", height=50)
components.html("<p>Component HTML</p>", height=40, scrolling=True)
components.iframe("https://example.com", height=40)
st.html("<script>console.log('html')</script>", unsafe_allow_javascript=True)
try:
    st.pdf(b"%PDF-1.4 not really")
except Exception as error:
    st.write(type(error).__name__, str(error))
