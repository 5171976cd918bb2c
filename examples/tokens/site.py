"""A FastAPI site that shows the items of a stream in the browser by server-sent events.

A browser whose connection breaks comes back with the number of the last item that it has (Last-Event-ID), perhaps to
another process of the site, and misses nothing. The job of a tab that is closed is cancelled after 10 seconds.

Run it::

    aiotask worker examples.tokens.tasks          # in one terminal
    uvicorn examples.tokens.site:site             # in another
    open http://localhost:8000
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Body, FastAPI, Header, HTTPException
from fastapi.responses import HTMLResponse, StreamingResponse

from aiotask import AiotaskError

from .tasks import answer, app

PAGE = """<!doctype html>
<form><input name="question" value="How do I stream?" size="40"> <button>Ask</button></form>
<p id="answer"></p>
<script>
document.querySelector("form").onsubmit = async event => {
  event.preventDefault()
  const text = document.getElementById("answer")
  text.textContent = ""
  const question = new FormData(event.target).get("question")
  const asked = await fetch("/answers", {
    method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify({question})
  })
  const source = new EventSource("/answers/" + (await asked.json()).id)
  source.onmessage = message => { text.textContent += JSON.parse(message.data) }
  source.addEventListener("end", () => source.close())
}
</script>
"""


@asynccontextmanager
async def lifespan(site: FastAPI) -> AsyncIterator[None]:
    async with app:  # connects when the site starts, sends what is left when it stops
        yield


site = FastAPI(lifespan=lifespan)


@site.get("/")
def page() -> HTMLResponse:
    return HTMLResponse(PAGE)


@site.post("/answers", status_code=202)
async def ask(question: Annotated[str, Body(embed=True)]) -> dict[str, str]:
    stream = answer.apply_async(question)
    await stream.sent()
    return {"id": stream.id}


@site.get("/answers/{id}")
async def read(id: str, last_event_id: Annotated[str, Header()] = "0") -> StreamingResponse:
    if not last_event_id.isdecimal():
        raise HTTPException(400, "Last-Event-ID is not the number of an event")
    return StreamingResponse(_events(id, int(last_event_id)), media_type="text/event-stream")


async def _events(id: str, after: int) -> AsyncIterator[str]:
    end = "end"
    try:
        async for number, token in answer.result(id).items(after=after):
            yield f"id: {number}\ndata: {json.dumps(token)}\n\n"
    except AiotaskError as error:
        end = str(error)
    # Without this event the browser would connect again.
    yield f"event: end\ndata: {json.dumps(end)}\n\n"
