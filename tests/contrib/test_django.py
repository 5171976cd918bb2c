"""A Django project: its tables by migration, workers by ``manage.py aiotask run``, jobs in ``atomic()``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from .project import Project

SETTINGS = """
import json, os
SECRET_KEY = "for tests only"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["aiotask.contrib.django", "shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = json.loads(os.environ["TEST_DATABASES"])
USE_TZ = True
"""
MANAGE = """
import os, sys
from django.core.management import execute_from_command_line
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
execute_from_command_line(sys.argv)
"""
MODELS = """
from django.db import models

class Order(models.Model):
    grams = models.PositiveIntegerField()
    price = models.FloatField(null=True)
"""
QUEUE = """
import os
from aiotask import App
from aiotask.contrib.django import FreshConnections, database_of

app = App(os.environ["TEST_APP"], database=database_of(), middleware=[FreshConnections()])
"""
TASKS = """
from django.db import connection
from shop.models import Order
from shop.queue import app

@app.task
def set_price(order_id: int) -> bool:
    was_closed = connection.connection is None
    Order.objects.filter(pk=order_id).update(price=2.5)
    return was_closed

@app.task
async def count() -> int:
    return await Order.objects.acount()
"""
URLS = """
from django.db import transaction
from django.http import JsonResponse
from django.urls import path
from shop.models import Order
from shop.queue import app
from shop.tasks import set_price

def order(request):
    with transaction.atomic():
        row = Order.objects.create(grams=int(request.GET["grams"]))
        with app.in_transaction("default"):
            result = set_price.apply_async(row.pk)
        if row.grams == 13:
            transaction.set_rollback(True)
    return JsonResponse({"order": row.pk, "job": result.id})

urlpatterns = [path("order", order)]
"""
BROWSER = """
import asyncio, json, os
import django
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
django.setup()
from django.test import Client
from shop.models import Order
from shop.queue import app
from shop.tasks import count

browser = Client()
sent = [browser.get("/order", {"grams": grams}).json() for grams in (100, 13, 200)]
closed = [app.result(each["job"]).get(timeout=60) for each in (sent[0], sent[2])]
prices = list(Order.objects.order_by("pk").values_list("grams", "price"))
print(json.dumps({"closed": closed, "prices": prices, "count": count.apply_async().get(timeout=60)}))
"""


@pytest.fixture
def shop(project: Project, app_name: str) -> Project:
    names = {"settings": SETTINGS, "models": MODELS, "queue": QUEUE, "tasks": TASKS, "urls": URLS, "__init__": ""}
    project.write({f"shop/{name}.py": text for name, text in names.items()} | {"manage.py": MANAGE})
    project.env["TEST_APP"] = app_name
    return project


def of_django(database_url: str, **options: Any) -> str:
    """``DATABASES`` with this one as the default."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        found: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": url.database}
    else:
        found = {"ENGINE": "django.db.backends.postgresql", "NAME": url.database, "USER": url.username}
        found |= {"HOST": url.query["host"], "OPTIONS": {"application_name": "shop & co", "isolation_level": 4}}
    return json.dumps({"default": found | options})


@pytest.mark.timeout(240)
def test_d9_a_view_sends_in_its_transaction_and_workers_of_the_project_run(shop: Project, database_url: str) -> None:
    shop.env["TEST_DATABASES"] = of_django(database_url)
    shop.call("manage.py", "migrate", "--run-syncdb")
    supervisor = shop.serve("manage.py", "aiotask", "run", "-c", "1")

    said = json.loads(shop.call("-c", BROWSER).splitlines()[-1])

    # CONN_MAX_AGE is 0: each run begins without a connection.
    assert said == {"closed": [True, True], "prices": [[100, 2.5], [200, 2.5]], "count": 2}
    queues = shop.call("manage.py", "aiotask", "queues", "--json")
    assert shop.env["TEST_APP"] in queues
    assert supervisor.stop() == 0


MIGRATIONS = """
import os
import django
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
django.setup()
from django.core.management import call_command
from django.db import connection
from aiotask.sql import create_tables
from shop.queue import app

create_tables(app)  # what is there already is no error
for target in ([], ["aiotask", "zero"], ["aiotask"]):
    call_command("migrate", *target, verbosity=0)
    print(*(name for name in sorted(connection.introspection.table_names()) if name.startswith("aiotask")))
call_command("makemigrations", "aiotask", check=True, dry_run=True, verbosity=0)
app.database.open().dispose()
"""


def test_the_tables_come_and_go_by_migration(shop: Project, database_url: str) -> None:
    shop.env["TEST_DATABASES"] = of_django(database_url)
    tables = "aiotask_hosts aiotask_outbox aiotask_workers"

    assert shop.call("-c", MIGRATIONS).splitlines() == [tables, "", tables]


def test_the_help_of_the_command_leads_to_that_of_the_worker(shop: Project, sqlite_url: str) -> None:
    shop.env["TEST_DATABASES"] = of_django(sqlite_url)

    assert "manage.py aiotask run [options]" in shop.call("manage.py", "aiotask")
    assert "--max-jobs-per-child" in shop.call("manage.py", "aiotask", "run", "--help")


@pytest.mark.timeout(240)
def test_the_options_of_manage_py_stand_before_or_behind_the_command(shop: Project, sqlite_url: str) -> None:
    shop.env["TEST_DATABASES"] = "not those"
    databases = of_django(sqlite_url)
    shop.write(
        {"conf/live.py": f"import os\nos.environ['TEST_DATABASES'] = {databases!r}\nfrom shop.settings import *\n"}
    )
    shop.call("manage.py", "migrate", "--run-syncdb", "--settings=live", "--pythonpath=conf")

    supervisor = shop.serve("manage.py", "aiotask", "worker", "--settings=live", "-c", "1", "--pythonpath", "conf")

    queues = shop.call("manage.py", "aiotask", "--pythonpath=conf", "--settings", "live", "queues", "--json")
    assert shop.env["TEST_APP"] in queues
    assert supervisor.stop() == 0


def test_a_project_without_settings_or_tasks_says_what_is_missing(shop: Project, sqlite_url: str) -> None:
    shop.env["TEST_DATABASES"] = of_django(sqlite_url)
    worker = ("-m", "aiotask", "worker", "aiotask.contrib.django", "-c", "1", "--burst")
    assert "DJANGO_SETTINGS_MODULE" in shop.call(*worker, code=3)

    shop.env["DJANGO_SETTINGS_MODULE"] = "shop.settings"
    shop.write({"shop/tasks.py": ""})
    assert "has a module `tasks` with tasks" in shop.call(*worker, code=3)


DATABASES = {
    "tcp": {
        "ENGINE": "django.db.backends.postgresql",
        **{"NAME": "shop & co", "USER": "ada@home", "PASSWORD": "a:b/c@d%", "HOST": "db.example", "PORT": 5433},
        "OPTIONS": {"sslmode": "require", "pool": True, "assume_role": "x"},
    },
    "six": {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "USER": "ada", "HOST": "::1"},
    "socket": {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "HOST": "/run/pg", "PORT": "5434"},
    "service": {"ENGINE": "django.db.backends.postgresql", "NAME": "", "OPTIONS": {"service": "shop"}},
    "file": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.db"},
    "memory": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    "default": {"ENGINE": "django.db.backends.mysql", "NAME": "shop"},
}
URLS_OF = """
import json, os, sys
import django
from django.conf import settings
from aiotask import App
from aiotask.contrib.django import database_of
from aiotask.errors import ConfigError

said = {}
def ask(name):
    try:
        database = App("shop", url="memory://", database=database_of(name)).database.open()
        url = database.engine.url
        said[name] = [url.username, url.password, url.host, url.port, url.database, dict(url.query)]
    except ConfigError as error:
        said[name] = str(error)

ask("early")
class Wrapper:
    vendor = "mysql"
settings.configure(DATABASES=json.loads(sys.argv[1]))
django.setup()
from django.db import connections
connections["default"] = Wrapper()
Wrapper.settings_dict = {}
for name in [*settings.DATABASES, "nowhere"]:
    ask(name)
print(json.dumps(said))
"""


def test_databases_of_the_settings_become_urls(project: Project) -> None:
    said = json.loads(project.call("-c", URLS_OF, json.dumps(DATABASES)))

    assert said["tcp"] == ["ada@home", "a:b/c@d%", "db.example", 5433, "shop & co", {"sslmode": "require"}]
    assert said["six"] == ["ada", None, "::1", None, "shop", {}]
    assert said["socket"][2:] == [None, None, "shop", {"host": "/run/pg", "port": "5434"}]
    assert said["service"][5] == {"service": "shop"}
    assert said["file"][4] == str(project.folder / "shop.db")
    assert "in memory" in said["memory"]
    assert "is mysql" in said["default"]
    assert '"nowhere", but "tcp", "six"' in said["nowhere"]
    assert "django.setup()" in said["early"]
