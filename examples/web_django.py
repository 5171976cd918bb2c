"""Jobs from a Django site in one file.

Run it::

    aiotask worker examples.words                           # in one terminal
    python -m examples.web_django runserver --noreload      # in another
    curl 'localhost:8000/now?text=to+be+or+not+to+be'

Under ASGI (``uvicorn examples.web_django:site``) nothing changes.
"""

import os
import sys

from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from aiotask import ResultExpired, ResultTimeout
from examples.words import top_words

settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY", "for development only"),
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    DEBUG=False,
)


async def now(request: HttpRequest) -> JsonResponse:
    """An async view awaits."""
    try:
        words = await top_words.apply_async(request.GET["text"]).wait(timeout=10)
    except ResultTimeout:
        return JsonResponse({"error": "this takes longer than usual"}, status=503)
    return JsonResponse({"words": words})


def send(request: HttpRequest) -> JsonResponse:
    """A sync view sends, and answers with the id once the broker has the job."""
    result = top_words.apply_async(request.GET["text"])
    async_to_sync(result.sent)()
    return JsonResponse({"id": result.id}, status=202)


def wait(request: HttpRequest, id: str) -> JsonResponse:
    """A sync view waits with ``get``."""
    try:
        return JsonResponse({"words": top_words.result(id).get(timeout=10)})
    except ResultExpired:
        return JsonResponse({"error": "there is no such job"}, status=404)


async def look(request: HttpRequest, id: str) -> JsonResponse:
    """Where the job stands."""
    try:
        status = await top_words.result(id).status()
    except ResultExpired:
        return JsonResponse({"error": "there is no such job"}, status=404)
    return JsonResponse({"status": status})


urlpatterns = [
    path("now", now),
    path("send", send),
    path("wait/<id>", wait),
    path("status/<id>", look),
]
site = get_asgi_application()

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
