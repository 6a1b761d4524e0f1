"""Files handed over ahead of the message: POST /{me|IG_ID}/message_attachments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import graph, media, oauth, outgoing
from .errors import invalid_message, unsupported
from .state import as_object
from .wire import Request, Response, as_json

if TYPE_CHECKING:
    from .server import Sandbox

# Old ones are forgotten: whoever still sends by them is told so and uploads again.
KEPT_UPLOADS = 1000


def upload(sandbox: Sandbox, request: Request, node: str) -> Response:
    """Fetch the file now; the answer's `attachment_id` stands for it in messages to come."""
    token, account = graph.caller_of_node(sandbox, request, node)
    if request.method != "POST":
        raise unsupported(request.method)
    graph.need_professional(account)
    graph.need(token, oauth.MESSAGES)
    attachment = as_object(as_object(request.params.get("message")).get("attachment"))
    kind, payload = attachment.get("type"), as_object(attachment.get("payload"))
    if kind not in media.SAMPLES or not payload:
        raise invalid_message("(#100) Param message[attachment] must have a known type and payload")
    outgoing.need_fetched(sandbox, request, [attachment])
    url = outgoing.file_in(sandbox, request, kind, payload)
    attachment_id = str(10**15 + 854626884821032 + sandbox.world.next_number())
    uploads = sandbox.world.uploads
    uploads[attachment_id] = {"ig_id": account.ig_id, "kind": kind, "url": url}
    for oldest in list(uploads)[:-KEPT_UPLOADS]:
        del uploads[oldest]
    sandbox.world.changed()
    return as_json({"attachment_id": attachment_id})
