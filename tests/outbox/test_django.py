"""Jobs in ``transaction.atomic()`` of Django, in a process of its own: its settings are made once per process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .shop import Shop

PROGRAM = """
import json, os, sys
import django
from django.conf import settings
from django.db import connection, transaction
from aiotask import App
from aiotask.errors import ConfigError, NotSent

url, database = sys.argv[1], json.loads(sys.argv[2])
settings.configure(DATABASES={"default": database})
django.setup()
app = App(sys.argv[3], url="memory://", secret="x" * 40, database=url)
said = {}

@app.task(name="shop:note")
def note(n: int) -> int: return n

def why(call):
    try: return call()
    except (ConfigError, NotSent) as error: return f"{type(error).__name__}: {error}"

said["outside"] = why(lambda: app.in_transaction("default").__enter__())
said["unknown"] = why(lambda: app.in_transaction("other").__enter__())
with transaction.atomic():
    with app.in_transaction("default"):
        note.apply_async(1)
        note.apply_async(2)
    try:
        with transaction.atomic(), app.in_transaction(connection):
            kept = note.apply_async(3)
            raise RuntimeError
    except RuntimeError: pass
    savepoint = transaction.savepoint()
    with app.in_transaction("default"):
        note.apply_async(4)
    transaction.savepoint_rollback(savepoint)
    with app.in_transaction("default"):
        result = note.apply_async(5)
    said["open"] = why(lambda: result.get(5))
try:
    with transaction.atomic():
        with app.in_transaction("default"):
            rolled_back = note.apply_async(6)
        raise RuntimeError
except RuntimeError: pass
said["rolled back"] = why(lambda: rolled_back.get(5))
print(json.dumps(said))
"""


def test_atomic_blocks_of_django(shop: Shop, tmp_path: Path) -> None:
    url = shop.database.engine.url
    if shop.database.is_sqlite:
        settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": url.database}
    else:
        host = url.query["host"]
        settings = {"ENGINE": "django.db.backends.postgresql", "NAME": url.database, "USER": url.username, "HOST": host}
    command = [sys.executable, "-c", PROGRAM, shop.url, json.dumps(settings), shop.app.name]

    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert "transaction.atomic()" in said["outside"]
    assert '"default"' in said["unknown"]
    assert said["open"].startswith("NotSent")
    assert "still open" in said["open"]
    assert said["rolled back"].startswith("NotSent")
    assert shop.waiting() == [1, 2, 5]


@pytest.mark.parametrize("on", ["default", "replica"])
def test_without_django_a_text_means_nothing(sqlite_shop: Shop, on: str) -> None:
    program = f"""
import sys
from aiotask import App
app = App("shop", url="memory://", database={sqlite_shop.url!r})
try: app.in_transaction({on!r})
except Exception as error: print(type(error).__name__, error, "django" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.stdout.startswith("ConfigError")
    assert "not loaded" in done.stdout
    assert done.stdout.rstrip().endswith("False")


def test_django_without_settings_is_an_error_that_names_the_next_step(sqlite_shop: Shop) -> None:
    program = f"""
import django.db
from aiotask import App
app = App("shop", url="memory://", database={sqlite_shop.url!r})
try: app.in_transaction("default")
except Exception as error: print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.stdout.startswith("ConfigError") and "Call django.setup()" in done.stdout, done.stdout + done.stderr
