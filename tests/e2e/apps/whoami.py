"""Says what is known of whoever looks at it."""

import streamlit as st

st.button("Click", key="click")
st.text(f"ip={st.context.ip_address};")
st.text(f"forwarded={st.context.headers.get('X-Forwarded-For')};")
