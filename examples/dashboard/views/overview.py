"""The business at a glance."""

import streamlit as st
from shop import orders, recent_orders

days = st.session_state.days
now = recent_orders(days)
before = recent_orders(2 * days).iloc[: -len(now)]

st.title("Overview")
st.caption(f"The last {days} days, out of {len(orders()):,} orders in a year")

for column, (label, unit, of_now, of_before) in zip(
    st.columns(3),
    [
        ("Orders", "{:,.0f}", len(now), len(before)),
        ("Revenue", "€ {:,.0f}", now["revenue"].sum(), before["revenue"].sum()),
        ("Average order", "€ {:,.2f}", now["revenue"].mean(), before["revenue"].mean()),
    ],
    strict=True,
):
    column.metric(label, unit.format(of_now), f"{of_now / of_before - 1:+.1%}", border=True)

weekly = now.pivot_table("revenue", now["day"].dt.to_period("W").dt.start_time, "product", "sum")
st.subheader("Revenue per week")
st.area_chart(weekly, x_label="", y_label="€", stack=True)
