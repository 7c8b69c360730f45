"""Uploading files of several sizes."""

import hashlib

import streamlit as st

one = st.file_uploader("One", type=["txt", "csv"], key="one")
if one is not None:
    st.write(one.name, one.type, one.size, one.getvalue().decode())
many = st.file_uploader("Many", accept_multiple_files=True, key="many")
for file in many:
    st.write(file.name, file.size, hashlib.sha256(file.read()).hexdigest())
with st.form("form"):
    inside = st.file_uploader("In a form", key="inside")
    st.form_submit_button("Send", key="send")
st.write(inside)
