"""A custom component of the second kind, inline."""

import streamlit as st

greeter = st.components.v2.component(
    "greeter",
    html="<button>Greet</button>",
    css="button { color: teal }",
    js="export default function ({ setStateValue, setTriggerValue }) {}",
)
result = greeter(
    key="greeter",
    data={"names": ["Ada", "Grace"], "deep": {"n": 1}},
    default={"count": 0},
    on_count_change=lambda: None,
    on_greeted_change=lambda: st.session_state.setdefault("greetings", []).append("hello"),
)
st.write(result.count, result.greeted, st.session_state.get("greetings"))
