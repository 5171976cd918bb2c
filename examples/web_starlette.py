"""Send jobs from a Starlette site; it works the same way in FastAPI.

Run it::

    aiotask worker examples.words             # in one terminal
    uvicorn examples.web_starlette:site       # in another
    curl -d 'to be or not to be' localhost:8000/jobs
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from aiotask import JobError, ResultExpired, ResultTimeout, Status
from examples.words import app, top_words


async def now(request: Request) -> JSONResponse:
    """Send a job and wait for its value; the event loop serves other requests in the meantime."""
    try:
        words = await top_words.apply_async(request.query_params["text"]).wait(timeout=10)
    except ResultTimeout:
        return JSONResponse({"error": "this takes longer than usual"}, status_code=503)
    return JSONResponse({"words": words})


async def send(request: Request) -> JSONResponse:
    """Send a job, and respond with its id once the broker has accepted it."""
    result = top_words.apply_async((await request.body()).decode())
    await result.sent()
    return JSONResponse({"id": result.id}, status_code=202)


async def look(request: Request) -> JSONResponse:
    """Respond with the status of the job and its value; any process can look a job up by its id."""
    result = top_words.result(request.path_params["id"])
    try:
        status = await result.status()
        words = await result if status is Status.SUCCESS else None
    except ResultExpired:
        return JSONResponse({"error": "there is no such job"}, status_code=404)
    except JobError as error:
        return JSONResponse({"error": str(error)}, status_code=500)
    return JSONResponse({"status": status, "words": words})


@asynccontextmanager
async def lifespan(site: Starlette) -> AsyncIterator[None]:
    async with app:  # connects at the start, and sends the remaining jobs at the end
        yield


site = Starlette(
    routes=[
        Route("/now", now),
        Route("/jobs", send, methods=["POST"]),
        Route("/jobs/{id}", look),
    ],
    lifespan=lifespan,
)
