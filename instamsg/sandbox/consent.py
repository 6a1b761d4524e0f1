"""The consent screen: which shop logs in, and what the app may do for it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from . import oauth, pages
from .state import Account
from .wire import BadRequest, Request, Response, redirect

if TYPE_CHECKING:
    from .server import Sandbox

PERMISSIONS = {
    oauth.BASIC: ("See the profile", "Name, username, picture. Always needed."),
    oauth.MESSAGES: ("Read and send messages", "Direct messages with your customers."),
    "instagram_business_manage_comments": ("Manage comments", "Read and answer comments."),
    "instagram_business_content_publish": ("Publish posts", "Put up photos and videos for you."),
    "instagram_business_manage_insights": ("See statistics", "Reach, views and followers."),
}
KINDS = {"BUSINESS": "Business", "MEDIA_CREATOR": "Creator", "PERSONAL": "Personal account"}
_CARRIED = ("client_id", "redirect_uri", "response_type", "scope", "state")


def answer(sandbox: Sandbox, request: Request) -> Response:
    if request.method == "POST":
        if not pages.is_from_own_page(sandbox, request):
            return pages.refusal(sandbox, "This form was sent from another website.")
        return _decide(sandbox, request.form)
    try:
        ask = oauth.read_ask(sandbox, dict(request.query))
    except oauth.Refused as error:
        return pages.refusal(sandbox, str(error), 400)
    with sandbox.world.lock:
        body = _form(sandbox, ask, dict(request.query))
    return pages.page("Log in to the sandbox", body, leads_to=ask.redirect_uri)


def _decide(sandbox: Sandbox, form: dict[str, str]) -> Response:
    try:
        ask = oauth.read_ask(sandbox, form)
    except oauth.Refused as error:
        return pages.refusal(sandbox, str(error), 400)
    if form.get("decision") != "allow":
        return redirect(ask.denied())
    grant = [scope for scope in ask.scopes if scope == oauth.BASIC or form.get(f"grant:{scope}")]
    with sandbox.world.lock:
        try:
            account = sandbox.world.account(form.get("account"))
        except BadRequest as error:
            return pages.refusal(sandbox, str(error), 400)
        return redirect(ask.granted(oauth.approve(sandbox, ask, account, grant)))


def _form(sandbox: Sandbox, ask: oauth.Ask, values: dict[str, str]) -> str:
    carried = "\n".join(
        f'<input type="hidden" name="{name}" value="{escape(values[name])}">'
        for name in _CARRIED
        if name in values
    )
    shops = "\n".join(
        _shop(account, index == 0) for index, account in enumerate(sandbox.world.accounts.values())
    )
    scopes = "\n".join(_permission(scope) for scope in ask.scopes)
    host = escape(urlsplit(ask.redirect_uri).netloc)
    return f"""<main class="card">
<p class="brand">Sandbox</p>
<h1>Connect a shop to <strong>{host}</strong></h1>
<form method="post" action="/oauth/authorize">
{carried}
<fieldset>
<legend>Log in as</legend>
<div class="rows">
{shops}
</div>
</fieldset>
<fieldset>
<legend>{host} will be able to</legend>
<div class="rows">
{scopes}
</div>
</fieldset>
<div class="actions">
<button name="decision" value="allow" class="primary">Allow</button>
<button name="decision" value="deny" class="plain">Cancel</button>
</div>
</form>
<p class="small">An offline stand-in for Instagram. Shops and people are invented, and nothing
leaves this computer.</p>
</main>"""


def _shop(account: Account, chosen: bool) -> str:
    kind = KINDS.get(account.account_type, account.account_type)
    role = "" if account.tester else " · no role on the app"
    return f"""<label class="row">
<input type="radio" name="account" value="{escape(account.ig_id)}"{" checked" if chosen else ""}>
{pages.avatar(account.username)}
<span><b>{escape(account.username)}</b><small>{escape(kind + role)}</small></span>
</label>"""


def _permission(scope: str) -> str:
    title, detail = PERMISSIONS[scope]
    fixed = " disabled" if scope == oauth.BASIC else ""
    return f"""<label class="row">
<span><b>{title}</b><small>{detail}</small></span>
<input type="checkbox" name="grant:{scope}" checked{fixed}>
</label>"""
