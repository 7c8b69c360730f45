"""The app's start and end, by ASGI's lifespan protocol."""

from __future__ import annotations

import asyncio
from typing import Any

from streamfleet_worker.errors import AppCannotRunError


class Lifespan:
    """Runs an ASGI app's lifespan in a task of its own."""

    def __init__(self, app: Any) -> None:
        """Nothing runs until `startup`."""
        self._app = app
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._replies: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        # What the app's lifespan left for its requests.
        self.state: dict[str, Any] = {}

    async def startup(self) -> None:
        """Start the app. Raises `AppCannotRunError` when it refuses."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="lifespan")
        await self._exchange("startup")

    async def shutdown(self) -> None:
        """End the app."""
        await self._exchange("shutdown")

    async def _exchange(self, phase: str) -> None:
        assert self._task is not None
        self._events.put_nowait({"type": f"lifespan.{phase}"})
        reply = asyncio.ensure_future(self._replies.get())
        await asyncio.wait((reply, self._task), return_when=asyncio.FIRST_COMPLETED)
        if reply.done():
            answer = reply.result()
            if answer["type"] == f"lifespan.{phase}.complete":
                return
            raise AppCannotRunError(f"the app's {phase} failed: {answer.get('message', '')}")
        reply.cancel()
        self._task.result()  # Raises what the app raised.

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        await self._app(scope, self._events.get, self._replies.put)
