"""The URL names a page that is not there."""

import streamlit as st


def one() -> None:
    """The only page."""
    st.write("one")


st.navigation([st.Page(one)]).run()
