"""A page opened by its URL."""

import streamlit as st


def one() -> None:
    """The default."""
    st.write("one")


def two() -> None:
    """What the URL names."""
    st.write("two", st.query_params.to_dict())


st.navigation([st.Page(one), st.Page(two)], position="hidden").run()
