"""What reports of runs cost, by hand: `PYTHONPATH=runner/python python runner/python/tests/bench_runs.py`.

The same clicks with and without reports, in turns, and what this process needed for each; then each
part of a report by itself.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from fleet import Browser, run, worker
from protos import wire as make_wire
from streamfleet_worker.runs import Asked, Outcome, Run, SessionRuns
from streamfleet_worker.wire import frame

COUNTER = """
import streamlit as st
st.session_state.n = st.session_state.get("n", 0)
if st.button("Add"):
    st.session_state.n += 1
for i in range(20):
    st.text(i)
"""
TRACE = bytes(range(1, 26))
ROUNDS = 60
CLICKS = 20


async def clicks():
    """CPU time of a click with reports and without, in microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "app.py"
        script.write_text(COUNTER)
        async with worker(script) as host:
            tab = await Browser(host).open()
            tab.trace = TRACE
            await tab.rerun()
            session = host.session(tab.session_id)
            runs, costs = session.runs, {True: [], False: []}
            for _ in range(ROUNDS):
                for reported in (False, True):
                    session.runs = runs if reported else None
                    began = time.process_time_ns()
                    for _ in range(CLICKS):
                        await tab.click("Add")
                    costs[reported].append((time.process_time_ns() - began) / 1000 / CLICKS)
                    tab.messages.clear()
                    tab.inbox.events.clear()
                    session.runs = runs
                    await tab.rerun()
            return costs


def parts():
    """A report from beginning to end, without anything around it, in microseconds."""
    wire = make_wire()
    sink = []

    def send(report):
        sink.append(frame(wire.stream_event(run=report)))

    runs = SessionRuns(wire, "11111111-1111-4111-8111-111111111111", send)
    costs = []
    for _ in range(2000):
        began = time.perf_counter_ns()
        each = Run("11111111-1111-4111-8111-111111111111", Asked(TRACE, 7, 1), of_fragments=False)
        each.compiled(each.started_at_us)
        each.called_back(each.started_at_us - 1000)
        each.completed()
        each.end(Outcome.FINISHED, "/")
        runs.began(each)
        runs.sent([None] * 20, [b"x" * 100] * 20)
        runs.over(each, superseded=False)
        runs.report()
        costs.append((time.perf_counter_ns() - began) / 1000)
        sink.clear()
    return costs


def main():
    alone = parts()
    sys.stdout.write(f"a report by itself: median {statistics.median(alone):.1f} us\n")
    costs = run(clicks())
    differences = [one - other for one, other in zip(costs[True], costs[False], strict=True)]
    sys.stdout.write(
        f"a click: without {statistics.median(costs[False]):.0f} us of CPU,"
        f" with {statistics.median(costs[True]):.0f} us,"
        f" median of the differences {statistics.median(differences):.1f} us"
        f" (in this process the test reads the report, too)\n"
    )


if __name__ == "__main__":
    main()
