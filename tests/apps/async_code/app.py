"""Coroutines in a script."""

import asyncio

import streamlit as st


async def gather() -> list[int]:
    """Waits for several things at once."""

    async def one(number: int) -> int:
        await asyncio.sleep(0)
        return number * 2

    return await asyncio.gather(*map(one, range(3)))


async def stream():
    """Streams from a coroutine."""
    for word in ("one ", "two ", "three"):
        await asyncio.sleep(0)
        yield word


st.write(asyncio.run(gather()))
st.write_stream(stream())
loop = asyncio.new_event_loop()
st.write(loop.run_until_complete(gather()))
loop.close()
