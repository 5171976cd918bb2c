"""``POST /do/VERB``: every form of the dashboard that changes something."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from ...ops.views import acts
from ...ops.views.fields import Fields, Said
from ...ops.views.runs import Running
from ...ops.visitors import Verb
from .forms import safe_path, seal_said
from .pages.stacks import stacks_page
from .view import View

__all__ = ["act", "stop_bulk"]


async def act(view: View, verb: Verb, fields: Fields) -> Response:
    """Do it, and lead back to the page from which it was asked."""
    back = safe_path(fields.back, view.request.scope.get("root_path", "") + "/")
    did = await acts.act(view, view.site.runs, verb, fields)
    if isinstance(did, Running):
        did.back = back
        return RedirectResponse(view.url("/bulk", did.id), 303)
    if not isinstance(did, Said):
        return await stacks_page(view, did, fields.get("id"))
    joint = "&" if "?" in back else "?"
    return RedirectResponse(f"{back}{joint}said={seal_said(did, view.connection.secrets)}", 303)


async def stop_bulk(view: View, fields: Fields) -> Response:
    run = await acts.stop(view, view.site.runs, fields.get("id"))
    return RedirectResponse(view.url("/bulk", run.id), 303)
