"""Reading and writing the query string, by hand and bound to widgets."""

import streamlit as st

st.write(st.query_params.to_dict(), st.query_params.get_all("many"))
st.selectbox("Bound", ["a", "b", "c"], key="bound", bind="query-params")
if st.button("Set", key="set"):
    st.query_params["page"] = "2"
    st.query_params["many"] = ["x", "y"]
if st.button("Update", key="update"):
    st.query_params.update(page=3, other="ä b")
if st.button("Clear", key="clear"):
    st.query_params.clear()
if st.button("Drop", key="drop"):
    del st.query_params["page"]
st.write("now", st.query_params.to_dict())
