"""Charts that other libraries describe. Where a library is not installed, the error it gives is part of the page."""

import altair as alt
import pandas as pd
import pydeck as pdk
import streamlit as st

frame = pd.DataFrame({"x": [1, 2, 3], "y": [3, 1, 2]})
chart = alt.Chart(frame).mark_bar().encode(x="x:O", y="y:Q")
st.altair_chart(chart)

picked = alt.selection_point(name="picked", fields=["x"])
event = st.altair_chart(chart.add_params(picked), on_select="rerun", key="altair")
st.write(event)

st.vega_lite_chart(frame, {"mark": "line", "encoding": {"x": {"field": "x"}, "y": {"field": "y"}}})
st.echarts_chart(
    {"xAxis": {"data": ["a", "b"]}, "yAxis": {}, "series": [{"type": "bar", "data": [1, 2]}]}
)

layer = pdk.Layer("ScatterplotLayer", frame, id="dots", get_position=["x", "y"], pickable=True)
state = st.pydeck_chart(pdk.Deck(layers=[layer], map_style=None), on_select="rerun", key="deck")
st.write(state)

try:
    st.plotly_chart({"data": [{"x": [1, 2], "y": [3, 4]}]}, key="plotly")
except ImportError as error:
    st.write(str(error))
try:
    st.pyplot(object())
except Exception as error:
    st.write(str(error))
