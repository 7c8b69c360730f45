"""Code that shows itself, and documentation."""

import streamlit as st

with st.echo():
    answer = 6 * 7
    st.write(answer)
with st.echo(code_location="below"):
    st.write("below")


class Documented:
    """A documented class."""

    field = 1

    def method(self, argument: int = 2) -> str:
        """A documented method."""
        return str(argument)


st.help(Documented)
st.help(st.button)
st.help(Documented().method)
