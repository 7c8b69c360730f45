"""Every order, to search, sort and take home."""

import streamlit as st
from shop import PRICES, recent_orders

table = recent_orders(st.session_state.days)

st.title("Orders")
product = st.selectbox("Tea", list(PRICES), index=None, placeholder="All teas")
if product:
    table = table[table["product"] == product]

st.dataframe(
    table[::-1],
    hide_index=True,
    column_config={
        "day": st.column_config.DateColumn("Day"),
        "product": "Tea",
        "kilos": st.column_config.NumberColumn("Amount", format="%.2f kg"),
        "revenue": st.column_config.ProgressColumn(
            "Revenue", format="€ %.2f", max_value=float(table["revenue"].max())
        ),
    },
)
st.download_button("Download as CSV", table.to_csv(index=False), "orders.csv", on_click="ignore")
