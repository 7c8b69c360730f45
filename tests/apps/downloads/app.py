"""Downloads, ready and made on demand."""

import streamlit as st


def make() -> bytes:
    """Makes the content when it is asked for."""
    return b"made on demand"


if st.download_button("Text", "the content", file_name="text.txt", key="text"):
    st.write("downloaded")
st.download_button(
    "Bytes", b"\x00\x01", file_name='a "quoted" ü.bin', mime="application/x-test", key="bytes"
)
st.download_button("Ignored", "x", on_click="ignore", key="ignored")
st.download_button("Deferred", make, file_name="later.txt", key="deferred")
