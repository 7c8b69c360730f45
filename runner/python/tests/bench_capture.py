"""What a snapshot costs, by hand: `PYTHONPATH=runner/python python runner/python/tests/bench_capture.py`."""

import statistics
import sys
import tempfile
from pathlib import Path

from fleet import Browser, run, worker

COUNTER = """
import streamlit as st
if "n" not in st.session_state:
    st.session_state.n = 0
if st.button("Add"):
    st.session_state.n += 1
st.text(st.session_state.n)
"""

WIDGETS = """
import streamlit as st
st.session_state.setdefault("n", 0)
st.button("Add")
for i in range(50):
    st.slider(f"slider {i}", 0, 100, 5, key=f"s{i}")
    st.selectbox(f"box {i}", ["a", "b", "c"])
"""

FRAME = """
import numpy as np, pandas as pd, streamlit as st
if "frame" not in st.session_state:
    st.session_state.frame = {frame}
    st.session_state.n = 0
if st.button("Add"):
    st.session_state.n += 1
"""

FRAMES = {
    "10 MB of numbers": "pd.DataFrame(np.random.rand(125_000, 10))",
    "10 MB of strings": "pd.DataFrame({'a': [f'some text {i:08d}' for i in range(550_000)]})",
    "10 MB of objects": (
        "pd.DataFrame({'a': pd.Series([f'some text {i:08d}' for i in range(180_000)], dtype=object)})"
    ),
    "a list of a million numbers": "list(range(1_000_000))",
}


async def measure(source, clicks):
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "app.py"
        script.write_text(source)
        async with worker(script) as host:
            tab = await Browser(host).open()
            await tab.rerun()
            costs = []
            for _ in range(clicks):
                await tab.click("Add")
                costs.append(host.keeper(tab.session_id)._cost * 1e6)
            return tab.store.snapshots[0].cost_us, costs, tab.store.keys


def main():
    rows = {"counter": COUNTER, "100 widgets": WIDGETS}
    rows |= {name: FRAME.format(frame=frame) for name, frame in FRAMES.items()}
    for name, source in rows.items():
        first, costs, keys = run(measure(source, 200 if name in {"counter", "100 widgets"} else 20))
        costs.sort()
        sys.stdout.write(
            f"{name:30} first {first:8.0f} us   then median {statistics.median(costs):8.0f} us"
            f"   p90 {costs[int(len(costs) * 0.9)]:8.0f} us   keys sent {keys}\n"
        )


if __name__ == "__main__":
    main()
