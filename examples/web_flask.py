"""A Flask site whose jobs are rows of its own table, and whose transactions send jobs.

Run it::

    flask --app examples.web_flask init           # once: makes the tables
    flask --app examples.web_flask aiotask run    # in one terminal; its options: those of aiotask worker
    flask --app examples.web_flask run            # in another
    curl -d operation=hop localhost:5000/tasks
    curl localhost:5000/tasks
"""

import os
from uuid import UUID, uuid4

from flask import Blueprint, Flask, current_app, request
from flask.typing import ResponseReturnValue
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, object_session

from aiotask import App
from aiotask.contrib.flask import init_app
from aiotask.sql import RowJob

STEPS = {"hop": "I hopped!", "skip": "I skipped!", "jump": "I jumped!"}


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)
app = App("steps", database=lambda: db.engine)
pages = Blueprint("pages", __name__)


@app.row(retries=3, retry_on=(OSError,))
class MyTask(RowJob, db.Model):  # type: ignore[name-defined,misc]
    """A table of the site. Each of its rows is a job."""

    __tablename__ = "my_task"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    operation: Mapped[str]

    def run(self) -> None:
        if self.operation not in STEPS:
            raise ValueError("Operation wasn't hop, skip, or jump!")
        current_app.logger.warning(STEPS[self.operation])
        if self.operation == "hop":
            session = object_session(self)
            assert session is not None
            session.add(MyTask(operation="skip"))  # committed with this row's SUCCESS, or not at all

    def error(self, exc: Exception) -> None:
        found = "I found a ValueError!" if isinstance(exc, ValueError) else f"attempt {self.attempt}: {exc}"
        current_app.logger.error(found)


class Receipt(db.Model):  # type: ignore[name-defined,misc]
    __tablename__ = "receipt"
    id: Mapped[int] = mapped_column(primary_key=True)
    task: Mapped[UUID]


@app.task
def write_receipt(task: UUID) -> None:
    """An ordinary job: it travels by the broker."""
    db.session.add(Receipt(task=task))
    db.session.commit()


# ---- the site


@pages.post("/tasks")
def send() -> ResponseReturnValue:
    task = MyTask(id=uuid4(), operation=request.form["operation"])
    db.session.add(task)
    with app.in_transaction(db.session):
        write_receipt.apply_async(task.id)
    if request.form.get("undo"):
        db.session.rollback()  # neither the row nor the job has ever been there
        return {"id": None}
    db.session.commit()
    return {"id": str(task.id)}, 202


@pages.get("/tasks")
def look() -> ResponseReturnValue:
    tasks = db.session.execute(select(MyTask.operation, MyTask.status).order_by(MyTask.created_at)).all()
    return {"tasks": [list(task) for task in tasks], "receipts": db.session.scalar(select(func.count(Receipt.id)))}


def create_app() -> Flask:
    site = Flask(__name__)
    file = os.path.abspath(os.environ.get("STEPS_DATABASE", "steps.sqlite3"))
    site.config["SQLALCHEMY_DATABASE_URI"] = os.environ.get("STEPS_URL", f"sqlite:///{file}")
    db.init_app(site)
    init_app(site, app)
    site.register_blueprint(pages)

    @site.cli.command("init")
    def init() -> None:
        """Make the tables, those of aiotask among them. A site that lives on has migrations for that."""
        db.create_all()

    return site
