"""A queue that is a table of one's own, in one SQLite file: no server is needed.

Run it::

    python -m examples.rows                # adds rows, works them off, and searches them
    aiotask worker examples.rows           # or: a service that works off what is added
"""

import os
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Mapped

from aiotask import App
from aiotask.sql import Row

app = App("photos", database=f"sqlite:///{os.environ.get('PHOTOS_DATABASE', 'photos.sqlite3')}")


@app.row
class Photo(Row):
    """A table: it is made at first use. Each row of it is a job, and stays when it has run."""

    __tablename__ = "photo"
    foo: Mapped[int]
    bar: Mapped[str]
    baz: Mapped[dict[str, Any]]  # JSON

    def run(self) -> None:
        if self.bar == "broken":
            raise ValueError("this photo cannot be read")
        self.foo += 1  # saved together with SUCCESS

    def error(self, exc: Exception) -> None:
        self.baz["problem"] = str(exc)


def main() -> None:
    with app.session() as session:
        session.add(Photo(foo=1, bar="test", baz={"foo": "bar"}))
        session.add_all(Photo(foo=n, bar="many", baz={"foo": "other"}) for n in range(15))
        session.add(Photo(foo=0, bar="broken", baz={}))

    print(app.work(1), "row has run")
    print(app.work(5), "rows have run")
    print(app.work(burst=True), "rows have run")

    with app.session() as session:
        done = select(Photo).where(Photo.status == "SUCCESS", Photo.baz["foo"].as_string() == "bar")
        for photo in session.scalars(done):
            print(photo.bar, photo.foo, photo.baz)
        for photo in session.scalars(select(Photo).where(Photo.status == "FAILED")):
            print(photo.bar, photo.last_error, photo.baz)


if __name__ == "__main__":
    main()
