"""A sales dashboard of several pages, with a filter they share and data computed once."""

import streamlit as st

st.set_page_config(page_title="Harbour Tea", page_icon="🫖", layout="wide")

page = st.navigation(
    {
        "Sales": [
            st.Page("views/overview.py", title="Overview", icon=":material/monitoring:"),
            st.Page("views/products.py", title="Products", icon=":material/local_cafe:"),
        ],
        "Records": [st.Page("views/orders.py", title="Orders", icon=":material/receipt_long:")],
    }
)

with st.sidebar:
    # A widget here belongs to every page, so its value stays when the page changes.
    # Half a year at most, so that the data always reaches back to a period to compare with.
    st.slider("Days", 14, 180, 90, key="days")

page.run()
