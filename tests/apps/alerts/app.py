"""Messages of all kinds, and the effects that come with them."""

import streamlit as st

st.error("Error", icon="🔥")
st.warning("Warning", title="Careful")
st.info("Info", icon=":material/info:")
st.success("Success")
st.exception(RuntimeError("shown, not raised"))
st.toast("Toast", icon="🍞", duration="long")
if st.button("Celebrate", key="celebrate"):
    st.balloons()
    st.snow()
    st.toast("Again")
