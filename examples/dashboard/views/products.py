"""What sells."""

import streamlit as st
from shop import PRICES, recent_orders

table = recent_orders(st.session_state.days)

st.title("Products")
chosen = st.pills("Tea", list(PRICES), default=list(PRICES), selection_mode="multi")
shown = table[table["product"].isin(chosen)]
if shown.empty:
    st.info("Choose at least one tea.")
    st.stop()

totals = shown.groupby("product", as_index=False)["revenue"].sum()
months = shown.assign(month=shown["day"].dt.strftime("%Y-%m"))
left, right = st.columns(2)
with left:
    st.subheader("Revenue")
    st.bar_chart(totals, x="product", y="revenue", x_label="", y_label="€", horizontal=True)
with right:
    st.subheader("Kilos per month")
    st.bar_chart(months, x="month", y="kilos", color="product", x_label="", y_label="kg")
