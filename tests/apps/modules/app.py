"""Imports a module beside the script, and one from a folder, both with state of their own."""

import helper
import streamlit as st
from package import inner

st.write(helper.greet("you"), inner.ANSWER, helper.count())
st.button("Again", key="again")
