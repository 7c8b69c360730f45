"""An upload over the configured limit is refused."""

import streamlit as st

st.file_uploader("Small files only", key="file", max_upload_size=1)
st.write(st.get_option("server.maxUploadSize"))
