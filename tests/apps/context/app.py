"""What ``st.context`` knows about the browser."""

import streamlit as st

context = st.context
st.write(context.timezone, context.timezone_offset, context.locale, context.is_embedded)
st.write(context.url, context.theme)
st.write(context.ip_address is None)
st.write(
    context.headers["X-Shown"], context.headers.get_all("x-shown"), "X-Other" in context.headers
)
st.write(context.headers["User-Agent"], context.headers["Accept-Language"])
st.write(context.cookies["flavour"], len(context.cookies["_streamlit_xsrf"]) > 20)
st.write(sorted(name.lower() for name in context.headers))
