"""``flask aiotask``: processes that find the Flask application as ``flask`` itself does."""

from __future__ import annotations

import json

from ..helpers import wait_until
from .project import Project

SHOP = """
import os
from flask import Flask, current_app
from aiotask import App
from aiotask.contrib.flask import init_app

app = App(os.environ["TEST_APP"])

@app.task
def greet() -> str:
    return f"{current_app.config['GREETING']} in {os.getpid()}"

def create_app(greeting="hello", to="you"):
    flask_app = Flask(__name__)
    flask_app.config["GREETING"] = f"{greeting}, {to}"
    init_app(flask_app, app)
    return flask_app
"""
ASK = "from shop import greet; print(greet.apply_async().get(timeout=60))"
MANAGE = """
import click
from flask.cli import FlaskGroup
from shop import create_app

cli = FlaskGroup(create_app=create_app)

if __name__ == "__main__":
    cli()
"""
OWN = """
from flask.cli import FlaskGroup
FlaskGroup(create_app=lambda: __import__("shop").create_app())()
"""


def test_d9_workers_of_a_factory_with_arguments_run_and_stop(project: Project, app_name: str) -> None:
    project.env["TEST_APP"] = app_name
    project.write({"shop.py": SHOP})

    flask = ("-m", "flask", "--app", 'shop:create_app("good day", to="Ada")')
    supervisor = project.serve(*flask, "aiotask", "run", "-c1", "--grace", "5s", "--log-json")

    assert project.call("-c", ASK).startswith("good day, Ada in ")
    assert json.loads(supervisor.log.splitlines()[0])
    queues = json.loads(project.call(*flask, "aiotask", "queues", "--json"))
    assert app_name in json.dumps(queues)
    assert supervisor.stop() == 0


def test_a_reload_creates_the_application_anew(project: Project, app_name: str) -> None:
    from signal import Signals

    project.env |= {"TEST_APP": app_name, "FLASK_APP": "shop"}
    project.write({"shop.py": SHOP})
    supervisor = project.serve("-m", "aiotask", "worker", "aiotask.contrib.flask", "-c", "1")
    first = project.call("-c", ASK)
    assert first.startswith("hello, you in ")

    project.write({"shop.py": SHOP.replace('greeting="hello"', 'greeting="welcome"')})
    supervisor.signal(Signals.SIGHUP)

    wait_until(lambda: project.call("-c", ASK).startswith("welcome, you in "), description="the new code runs")


def test_a_group_of_the_users_own_is_found_by_its_factory(project: Project, app_name: str) -> None:
    project.env["TEST_APP"] = app_name
    project.write({"shop.py": SHOP, "manage.py": MANAGE, "own.py": OWN})

    project.serve("manage.py", "aiotask", "run", "-c", "1")

    assert project.call("-c", ASK).startswith("hello, you in ")
    said = project.call("own.py", "aiotask", "run", code=1)
    assert 'flask --app "package.module:create_app" aiotask run' in said


def test_the_help_is_that_of_the_worker(project: Project, app_name: str) -> None:
    project.env["TEST_APP"] = app_name
    project.write({"shop.py": SHOP})

    said = project.call("-m", "flask", "--app", "shop", "aiotask", "run", "--help")

    assert said.startswith("flask aiotask run: ")
    assert "--max-jobs-per-child" in said
    assert "run" in project.call("-m", "flask", "--app", "shop", "aiotask", "--help")


def test_what_cannot_be_loaded_is_named(project: Project, app_name: str) -> None:
    project.env["TEST_APP"] = app_name
    worker = ("-m", "aiotask", "worker", "aiotask.contrib.flask", "-c", "1", "--burst")
    bare = "from flask import Flask\n\nsite = Flask(__name__)\n"
    project.write({"shop.py": SHOP + '    raise LookupError("no shelf")\n', "bare.py": bare})
    broken = SHOP.replace("    init_app(flask_app, app)\n", '    raise LookupError("no shelf")\n')
    project.write({"shop.py": SHOP.replace("return flask_app", "pass"), "broken.py": broken})

    for name, told in (
        ("", "Could not locate a Flask application"),
        ("nowhere", "nowhere"),
        ("bare:site", "init_app(flask_app, app)"),
        ("broken", 'FLASK_APP="broken" raised LookupError while it was loaded: no shelf'),
        ("shop", 'FLASK_APP="shop"'),
    ):
        project.env["FLASK_APP"] = name
        said = project.call(*worker, code=3)
        assert told in said, said
        assert ("broken.py" in said) is (name == "broken")


def test_a_command_that_cannot_find_the_broker_says_why_in_one_line(project: Project, app_name: str) -> None:
    project.env |= {"TEST_APP": app_name, "AIOTASK_URL": "redis://queue.example:6379/0"}
    project.write({"shop.py": SHOP})

    said = project.call("-m", "flask", "--app", "shop", "aiotask", "queues", code=1)

    assert said.startswith("error: ")
    assert "AIOTASK_SECRET" in said
    assert said.count("\n") == 1
