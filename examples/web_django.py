"""Jobs from a Django site in one file, sent in the transactions of its database.

Run it::

    python -m examples.web_django init                      # once: makes shop.sqlite3
    aiotask worker examples.web_django                      # in one terminal
    python -m examples.web_django runserver --noreload      # in another
    curl 'localhost:8000/now?text=to+be+or+not+to+be'
    curl 'localhost:8000/send?text=to+be+or+not+to+be'

Under ASGI (``uvicorn examples.web_django:site``) nothing changes.
"""

import os
import sys

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import call_command
from django.db import connection, models, transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

from aiotask import App, ResultExpired, ResultTimeout
from aiotask.contrib.django import FreshConnections, database_of
from examples.words import top_words

# In a project with a settings module: os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings").
settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY", "for development only"),
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    DEBUG=False,
    TIME_ZONE="UTC",
    INSTALLED_APPS=["aiotask.contrib.django", "examples"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("DJANGO_DATABASE", "shop.sqlite3"),
        }
    },
)
# The worker imports this module too, and its tasks use models.
django.setup()


class Text(models.Model):
    content = models.TextField()
    words = models.JSONField(null=True)

    class Meta:
        app_label = "examples"


# ---- tasks


app = App("texts", database=database_of("default"), middleware=[FreshConnections()])


@app.task(retries=2)
def count_words(id: int) -> list[tuple[str, int]]:
    """Gets the key of a row, not the row: it reads what is in the database now."""
    text = Text.objects.get(pk=id)
    words = top_words(text.content)
    text.words = words
    text.save(update_fields=["words"])
    return words


# ---- views


async def now(request: HttpRequest) -> JsonResponse:
    """An async view awaits."""
    try:
        words = await top_words.apply_async(request.GET["text"]).wait(timeout=10)
    except ResultTimeout:
        return JsonResponse({"error": "this takes longer than usual"}, status=503)
    return JsonResponse({"words": words})


def send(request: HttpRequest) -> JsonResponse:
    """A sync view sends in its transaction: the job goes out if the row is committed, and only then."""
    with transaction.atomic():
        text = Text.objects.create(content=request.GET["text"])
        with app.in_transaction("default"):
            result = count_words.apply_async(text.pk)
    return JsonResponse({"id": result.id, "text": text.pk}, status=202)


def wait(request: HttpRequest, id: str) -> JsonResponse:
    """A sync view waits with ``get``."""
    try:
        return JsonResponse({"words": count_words.result(id).get(timeout=10)})
    except ResultExpired:
        return JsonResponse({"error": "there is no such job, or not yet"}, status=404)


async def look(request: HttpRequest, id: str) -> JsonResponse:
    """Where the job stands."""
    try:
        status = await count_words.result(id).status()
    except ResultExpired:
        return JsonResponse({"error": "there is no such job, or not yet"}, status=404)
    return JsonResponse({"status": status})


def stored(request: HttpRequest, id: int) -> JsonResponse:
    """What the task has written into the database."""
    return JsonResponse({"words": Text.objects.get(pk=id).words})


urlpatterns = [
    path("now", now),
    path("send", send),
    path("wait/<id>", wait),
    path("status/<id>", look),
    path("texts/<int:id>", stored),
]
site = get_asgi_application()


def init() -> None:
    """Make the tables. A site of more than one file has migrations for all of them."""
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        editor.create_model(Text)


if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    if sys.argv[1:] == ["init"]:
        init()
    else:
        execute_from_command_line(sys.argv)
