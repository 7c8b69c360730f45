"""Widgets for text, numbers and times."""

import datetime

import streamlit as st

day = datetime.date(2024, 2, 29)
noon = datetime.time(12, 0)
st.write("text", st.text_input("Text", "start", max_chars=20, key="text", placeholder="type"))
st.write("password", st.text_input("Password", type="password", key="password"))
st.write("area", st.text_area("Area", "lines", height=100, key="area"))
st.write("integer", st.number_input("Integer", 0, 10, 5, key="integer"))
st.write("float", st.number_input("Float", value=None, step=0.5, format="%.2f", key="float"))
st.write("slider", st.slider("Slider", 0, 100, 25, key="slider"))
st.write("floats", st.slider("Floats", 0.0, 1.0, (0.2, 0.8), key="floats"))
st.write("days", st.slider("Days", day, day + datetime.timedelta(days=9), day, key="days"))
st.write("date", st.date_input("Date", day, key="date", format="DD.MM.YYYY"))
st.write("dates", st.date_input("Dates", (day, day), key="dates"))
st.write("time", st.time_input("Time", noon, step=60, key="time"))
st.write("moment", st.datetime_input("Moment", datetime.datetime.combine(day, noon), key="moment"))
st.write(dict(sorted(st.session_state.items())))
