"""Tables, metrics and JSON."""

import pandas as pd
import streamlit as st

frame = pd.DataFrame(
    {
        "name": ["a", "b", "c"],
        "price": [1.5, 2.25, 3.0],
        "when": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03"]),
        "trend": [[1, 2, 3], [3, 2, 1], [2, 2, 2]],
    }
)
st.dataframe(
    frame,
    hide_index=True,
    column_order=["price", "name", "trend"],
    column_config={
        "price": st.column_config.NumberColumn("Price", format="$%.2f", help="each"),
        "trend": st.column_config.LineChartColumn("Trend", y_min=0, y_max=4),
        "name": None,
    },
)
st.dataframe(frame[["price"]].style.set_uuid("fixed").highlight_max(axis=0))
st.table(frame[["name", "price"]])
st.table({"key": ["value"]}, border=False)
st.metric("Revenue", "$ 12", "-3%", chart_data=[1, 3, 2], chart_type="area", border=True)
st.metric("Cost", 42, 1.5, delta_color="inverse")
st.json({"nested": {"list": [1, 2, {"deep": None}]}}, expanded=1)
st.json('{"from": "text"}', expanded=False)
