"""Secrets from the app's own file."""

import streamlit as st

st.write(st.secrets["word"], st.secrets.database.user, st.secrets["database"]["port"])
st.write("absent" in st.secrets, st.secrets.to_dict())
try:
    st.write(st.secrets["absent"])
except KeyError as error:
    st.write(str(error))
