"""A FastAPI site with an AsyncSession, whose transactions insert rows that are jobs, and send jobs.

Run it::

    python -m examples.web_fastapi                # once: makes the tables
    aiotask worker examples.web_fastapi           # in one terminal
    uvicorn examples.web_fastapi:site             # in another
    curl -d '{"text": "to be or not to be"}' -H 'content-type: application/json' localhost:8000/texts
    curl localhost:8000/texts/1
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, HTTPException
from sqlalchemy.ext.asyncio import AsyncSession, async_object_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aiotask import App
from aiotask.sql import RowJob, create_tables

URL = os.environ.get("TEXTS_URL", f"sqlite+aiosqlite:///{os.path.abspath('texts.sqlite3')}")
app = App("texts", database=URL)
sessions = async_sessionmaker(create_async_engine(URL), expire_on_commit=False)


class Base(DeclarativeBase):
    pass


@app.row(retries=2)
class Text(RowJob, Base):
    """A table of the site. Each of its rows is a job, which runs in the event loop of a worker process."""

    __tablename__ = "text"
    id: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[str]
    words: Mapped[int | None]

    async def run(self) -> None:
        self.words = len(self.content.split())
        session = async_object_session(self)
        assert session is not None
        session.add(Entry(said=f"{self.words} words"))  # committed with this row's SUCCESS, or not at all


class Entry(Base):
    __tablename__ = "entry"
    id: Mapped[int] = mapped_column(primary_key=True)
    said: Mapped[str]


@app.task
async def thank(name: str) -> None:
    """An ordinary job: it travels by the broker."""
    async with sessions.begin() as session:
        session.add(Entry(said=f"thank you, {name}"))


# ---- the site


async def get_session() -> AsyncIterator[AsyncSession]:
    """Handlers commit themselves: what stands after the ``yield`` may run when the response is on its way."""
    async with sessions() as session:
        yield session


InSession = Annotated[AsyncSession, Depends(get_session)]


@asynccontextmanager
async def lifespan(site: FastAPI) -> AsyncIterator[None]:
    async with app:  # connects when the site starts, sends what is left when it stops
        yield


site = FastAPI(lifespan=lifespan)


@site.post("/texts", status_code=202)
async def store(session: InSession, text: Annotated[str, Body(embed=True)], name: str = "Ada") -> dict[str, int]:
    row = Text(content=text)
    session.add(row)
    async with app.in_transaction(session):
        thank.apply_async(name)
    await session.flush()
    if not text:
        raise HTTPException(422, "the text is empty")  # not committed: neither the row nor the job has ever been there
    await session.commit()
    return {"id": row.id}


@site.get("/texts/{id}")
async def look(session: InSession, id: int) -> dict[str, Any]:
    row = await session.get(Text, id)
    if row is None:
        raise HTTPException(404, "there is no such text")
    return {"status": row.status, "words": row.words}


if __name__ == "__main__":
    create_tables(app)
