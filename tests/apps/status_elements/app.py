"""Progress and status, as they are when the run is over."""

import streamlit as st

bar = st.progress(0, text="starting")
for percent in range(0, 101, 20):
    bar.progress(percent, text=f"{percent} %")
with st.status("Working", expanded=True) as status:
    st.write("a step")
    status.update(label="Done", state="complete", expanded=False)
st.status("Failed", state="error")
with st.spinner("Wait", show_time=False):
    st.write("inside the spinner")
with st.skeleton(height=30):
    pass
placeholder = st.skeleton(height=30)
placeholder.write("in place of the skeleton")
