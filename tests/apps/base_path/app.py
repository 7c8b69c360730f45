"""An app below a path."""

import streamlit as st

st.download_button("Download", "the content", key="download")
st.file_uploader("File", key="file")
st.button("Press", key="press")
