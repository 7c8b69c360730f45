"""Everything that shows text."""

import streamlit as st

st.title("Title", anchor="top", help="the top")
st.header("Header", divider="rainbow")
st.subheader("Subheader", anchor=False, divider=True)
st.markdown("**bold** :red[red] $x^2$ :material/home:", help="markdown")
st.markdown("<b>html</b>", unsafe_allow_html=True)
st.caption("Caption")
st.text("Fixed   width", help="text")
st.code("print('hello')", language="python", line_numbers=True, wrap_lines=True)
st.latex(r"\int_0^1 x\,dx")
st.divider()
st.badge("New", icon=":material/star:", color="green")
st.html("<p style='color: red'>Plain HTML</p>")
st.write("one", 2, {"three": 3}, ["four"])
st.write("Unicode: äöü 漢字 🎈")
st.space("small")
