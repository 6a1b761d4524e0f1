"""The phone: a visitor plays the customer and chats with a shop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING

from . import acts, chat, pages, taps, trouble
from .state import Account, Customer
from .wire import BadRequest, Request, Response, redirect

if TYPE_CHECKING:
    from .server import Sandbox

Values = Mapping[str, str]
View = Callable[["Sandbox", Account, Customer, Values], Response]


def answer(sandbox: Sandbox, request: Request) -> Response:
    match (request.method, request.path):
        case ("GET", "/" | "/phone"):
            return redirect("/phone/")
        case ("GET", "/phone/"):
            return _chooser(sandbox)
        case ("GET", "/phone/chat"):
            return _within_chat(sandbox, request.query, _seeing(request, _chat))
        case ("GET", "/phone/messages"):
            return _within_chat(sandbox, request.query, _seeing(request, _news))
        case ("POST", "/phone/trouble"):
            if not pages.is_from_own_page(sandbox, request):
                return pages.refusal(sandbox, "This form was sent from another website.")
            return trouble.play(sandbox, request.form)
        case ("POST", "/phone/say" | "/phone/act" | "/phone/tap"):
            if not pages.is_from_own_page(sandbox, request):
                return pages.refusal(sandbox, "This form was sent from another website.")
            return _within_chat(sandbox, request.form, _doing(request.path.rpartition("/")[2]))
    return pages.refusal(sandbox, "There is no such page.", 404)


def _within_chat(sandbox: Sandbox, values: Values, view: View) -> Response:
    with sandbox.world.lock:
        try:
            account = sandbox.world.account(values.get("account"))
            customer = sandbox.world.customer(values.get("customer"))
        except BadRequest as error:
            return pages.refusal(sandbox, str(error), 404)
        return view(sandbox, account, customer, values)


def _seeing(request: Request, view: View) -> View:
    """The customer has the chat before their eyes, unless another website asks for it."""
    own = request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")

    def seen(sandbox: Sandbox, account: Account, customer: Customer, values: Values) -> Response:
        conversation = chat.found(sandbox, account, customer)
        if own and conversation is not None:
            acts.look(sandbox, account, conversation)
        return view(sandbox, account, customer, values)

    return seen


def _doing(what: str) -> View:
    """Do it and show the chat again; what cannot be done is said on a page of its own."""

    def done(sandbox: Sandbox, account: Account, customer: Customer, values: Values) -> Response:
        try:
            taps.DEEDS[what](sandbox, account, customer, values)
        except BadRequest as error:
            return pages.refusal(sandbox, str(error), 400)
        return redirect(f"/phone/chat?{chat.query(account, customer)}", 303)

    return done


def _chat(sandbox: Sandbox, account: Account, customer: Customer, values: Values) -> Response:
    return chat.page(sandbox, account, customer)


def _news(sandbox: Sandbox, account: Account, customer: Customer, values: Values) -> Response:
    """What the page shows now; 204 when it shows that already."""
    revision = chat.revision(sandbox, account, customer)
    if values.get("after") == revision:
        return Response(204, b"", "text/plain")
    headers = {"X-Revision": revision}
    return pages.html(chat.fragment(sandbox, account, customer), headers=headers)


def _chooser(sandbox: Sandbox) -> Response:
    with sandbox.world.lock:
        customers = "\n".join(
            _choice("customer", row.username, row.name, f"@{row.username}", index == 0)
            for index, row in enumerate(sandbox.world.customers.values())
        )
        shops = [row for row in sandbox.world.accounts.values() if row.account_type != "PERSONAL"]
        # A shop that is connected answers, so it stands first.
        shops.sort(key=lambda row: not row.subscribed_fields)
        listed = "\n".join(
            _choice("account", row.username, row.name, _connection(row), index == 0)
            for index, row in enumerate(shops)
        )
    body = f"""<main class="phone">
<header class="bar"><h1>Sandbox phone</h1></header>
<div class="choose">
<form method="get" action="/phone/chat">
<p>Play a customer and write to a shop. Everybody here is invented.</p>
<fieldset>
<legend>You are</legend>
<div class="rows">
{customers}
</div>
</fieldset>
<fieldset>
<legend>You write to</legend>
<div class="rows">
{listed}
</div>
</fieldset>
<div class="actions"><button class="primary">Open the chat</button></div>
</form>
{trouble.form(sandbox)}
{_way_back(sandbox)}
</div>
</main>"""
    return pages.page("Sandbox phone", body)


def _way_back(sandbox: Sandbox) -> str:
    site = escape(sandbox.site)
    if not site:
        return ""
    return f'<p class="back-to-site"><a href="{site}">Back to {pages.host(site)}</a></p>'


def _choice(name: str, value: str, title: str, detail: str, chosen: bool) -> str:
    return f"""<label class="row">
<input type="radio" name="{name}" value="{escape(value)}"{" checked" if chosen else ""}>
{pages.avatar(value)}
<span><b>{escape(title)}</b><small>{escape(detail)}</small></span>
</label>"""


def _connection(account: Account) -> str:
    connected = "connected" if account.subscribed_fields else "not connected yet"
    return f"@{account.username} · {connected}"
