"""Every column type of ``st.column_config``."""

import datetime

import pandas as pd
import streamlit as st

cc = st.column_config
frame = pd.DataFrame({"x": ["a", "b"]})
for number, column in enumerate(
    [
        cc.Column("Column", width="small", pinned=True),
        cc.TextColumn("Text", max_chars=5),
        cc.SelectboxColumn("Selectbox", options=["a", "b"]),
        cc.LinkColumn("Link", display_text="open"),
        cc.ImageColumn("Image"),
        cc.MarkdownColumn("Markdown"),
        cc.AudioColumn("Audio"),
        cc.VideoColumn("Video"),
    ]
):
    st.dataframe(frame, column_config={"x": column}, key=f"text{number}")

numbers = pd.DataFrame({"n": [1, 2]})
st.dataframe(numbers, column_config={"n": cc.NumberColumn("Number", step=1)})
st.dataframe(numbers, column_config={"n": cc.ProgressColumn("Progress", max_value=2)})
st.dataframe(numbers == 1, column_config={"n": cc.CheckboxColumn("Checkbox")})

lists = pd.DataFrame({"l": [[1, 2], [3, 4]]})
for number, kind in enumerate([cc.AreaChartColumn, cc.BarChartColumn, cc.LineChartColumn]):
    st.dataframe(lists, column_config={"l": kind("Chart")}, key=f"list{number}")
st.dataframe(lists, column_config={"l": cc.ListColumn("List")})
st.dataframe(
    lists.map(lambda pair: [str(value) for value in pair]),
    column_config={"l": cc.MultiselectColumn("Multiselect", options=["1", "2"])},
)
st.dataframe(pd.DataFrame({"j": [{"a": 1}]}), column_config={"j": cc.JsonColumn("JSON")})

moment = datetime.datetime(2024, 2, 29, 12, 30)
times = pd.DataFrame({"d": [moment.date()], "dt": [moment], "t": [moment.time()]})
st.dataframe(
    times,
    column_config={
        "d": cc.DateColumn("Date", format="DD.MM.YYYY"),
        "dt": cc.DatetimeColumn("Datetime"),
        "t": cc.TimeColumn("Time"),
    },
)
