"""A picture that is another with every click."""

import numpy as np
import streamlit as st

st.session_state.setdefault("count", 0)
if st.button("Click", key="click"):
    st.session_state.count += 1
count = st.session_state.count
rows, columns = np.mgrid[0:240, 0:320]
picture = np.stack(
    [(rows + count) % 256, (columns * 2) % 256, np.full_like(rows, count % 256)], axis=-1
)
st.image(picture.astype(np.uint8))
st.text(f"count={count};")
