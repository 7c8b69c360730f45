"""Nobody is logged in, and there is nowhere to log in."""

import streamlit as st

st.write(st.user.to_dict(), st.user.get("email"))
login, logout = st.button("Log in", key="login"), st.button("Log out", key="logout")
if login:
    st.login()
if logout:
    st.logout()
