"""A script that defines ``st.App``, with a route, middleware and lifespan of its own."""

from contextlib import asynccontextmanager

import streamlit as st
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route


class Stamp:
    """Adds a header to every answer."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        """Passes everything on."""

        async def stamped(message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"allow", b"stamped")]
            await send(message)

        await self.app(scope, receive, stamped)


@asynccontextmanager
async def lifespan(app):
    """Gives the script something to show."""
    yield {"greeting": "from the lifespan"}


async def items(request) -> JSONResponse:
    """Answers with what was asked."""
    body = (await request.body()).decode()
    return JSONResponse(
        {"item": request.path_params["name"], "query": str(request.url.query), "body": body}
    )


app = st.App(
    "page.py",
    lifespan=lifespan,
    routes=[Route("/api/items/{name}", items, methods=["GET", "POST"])],
    middleware=[Middleware(Stamp)],
)
