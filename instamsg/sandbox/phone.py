"""The phone: a visitor plays the customer and chats with a shop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from . import events, pages
from .state import Account, Conversation, Customer, Message
from .wire import BadRequest, Request, Response, redirect

if TYPE_CHECKING:
    from .server import Sandbox

Values = Mapping[str, str]
View = Callable[["Sandbox", Account, Customer, Values], Response]

TICKS = {
    "none": "Sent",
    "waiting": "Sent · waiting for the site to take it",
    "delivered": "Delivered",
    "failed": "The site never took it",
}


def answer(sandbox: Sandbox, request: Request) -> Response:
    match (request.method, request.path):
        case ("GET", "/" | "/phone"):
            return redirect("/phone/")
        case ("GET", "/phone/"):
            return _chooser(sandbox)
        case ("GET", "/phone/chat"):
            return _within_chat(sandbox, request.query, _chat)
        case ("GET", "/phone/messages"):
            return _within_chat(sandbox, request.query, _news)
        case ("POST", "/phone/say"):
            if not pages.is_from_own_page(sandbox, request):
                return pages.refusal(sandbox, "This form was sent from another website.")
            return _within_chat(sandbox, request.form, _say)
    return pages.refusal(sandbox, "There is no such page.", 404)


def _within_chat(sandbox: Sandbox, values: Values, view: View) -> Response:
    with sandbox.world.lock:
        try:
            account = sandbox.world.account(values.get("account"))
            customer = sandbox.world.customer(values.get("customer"))
        except BadRequest as error:
            return pages.refusal(sandbox, str(error), 404)
        return view(sandbox, account, customer, values)


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
<form class="choose" method="get" action="/phone/chat">
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
{_way_back(sandbox)}
</form>
</main>"""
    return pages.page("Sandbox phone", body)


def _way_back(sandbox: Sandbox) -> str:
    site = escape(sandbox.site)
    return f'<p class="back-to-site"><a href="{site}">Back to {_host(site)}</a></p>' if site else ""


def _host(site: str) -> str:
    return site.split("//")[-1].strip("/")


def _choice(name: str, value: str, title: str, detail: str, chosen: bool) -> str:
    return f"""<label class="row">
<input type="radio" name="{name}" value="{escape(value)}"{" checked" if chosen else ""}>
{pages.avatar(value)}
<span><b>{escape(title)}</b><small>{escape(detail)}</small></span>
</label>"""


def _connection(account: Account) -> str:
    connected = "connected" if account.subscribed_fields else "not connected yet"
    return f"@{account.username} · {connected}"


def _chat(sandbox: Sandbox, account: Account, customer: Customer, values: Values) -> Response:
    here = escape(_query(account, customer))
    body = f"""<main class="phone">
<header class="bar">
<a class="back" href="/phone/" aria-label="Choose somebody else">&lsaquo;</a>
{pages.avatar(account.username, 40)}
<h1>{escape(account.name)}<small>You are {escape(customer.name)}</small></h1>
</header>
<div id="news" role="region" aria-label="Chat with {escape(account.name)}" tabindex="0"
 data-source="/phone/messages?{here}" data-revision="{_revision(sandbox, account, customer)}">
<div class="all">
{_fragment(sandbox, account, customer)}
</div>
</div>
<noscript><p class="reload"><a href="/phone/chat?{here}">Look for new messages</a></p></noscript>
<form class="compose" id="compose" method="post" action="/phone/say">
<input type="hidden" name="account" value="{escape(account.username)}">
<input type="hidden" name="customer" value="{escape(customer.username)}">
<label class="hidden" for="text">Message to {escape(account.name)}</label>
<input id="text" name="text" maxlength="1000" autocomplete="off" enterkeyhint="send"
 placeholder="Message">
<button class="primary" name="what" value="text">Send</button>
<button class="picture" name="what" value="picture" title="Send a picture">
<svg viewBox="0 0 24 24" width="24" height="24" aria-hidden="true"><path d="M4 5h16v14H4zM4 16l5-5
 4 4 3-3 4 4M15.5 9.5h.01"/></svg>
<span class="hidden">Send a picture</span></button>
</form>
</main>
<script src="/static/phone.js" defer></script>"""
    return pages.page(f"{account.name} · Sandbox phone", body)


def _news(sandbox: Sandbox, account: Account, customer: Customer, values: Values) -> Response:
    """What the page shows now; 204 when it shows that already."""
    revision = _revision(sandbox, account, customer)
    if values.get("after") == revision:
        return Response(204, b"", "text/plain")
    headers = {"X-Revision": revision}
    return pages.html(_fragment(sandbox, account, customer), headers=headers)


def _say(sandbox: Sandbox, account: Account, customer: Customer, values: Values) -> Response:
    text = values.get("text", "").strip()
    order = {"image": True} if values.get("what") == "picture" else {"text": text}
    if order.get("image") or text:
        content = events.content_from(sandbox, order)
        events.say(sandbox, account, customer, content)
    return redirect(f"/phone/chat?{_query(account, customer)}", 303)


def _fragment(sandbox: Sandbox, account: Account, customer: Customer) -> str:
    conversation = _found(sandbox, account, customer)
    messages = conversation.messages if conversation else []
    bubbles = "\n".join(_bubble(sandbox, message) for message in messages)
    return f"""<div id="notice">{_notice(sandbox, account, customer)}</div>
<ol id="messages" role="log" aria-live="polite" aria-label="Messages">{bubbles}</ol>
<p id="status">{_status(sandbox, account, conversation)}</p>"""


def _notice(sandbox: Sandbox, account: Account, customer: Customer) -> str:
    """Why nothing reaches the site, when nothing does."""
    name = escape(account.name)
    development = sandbox.world.settings.app_mode == "development"
    if not account.subscribed_fields:
        reason = f"{name} is not connected yet. What you write now will not reach the site."
    elif not account.messages_allowed:
        reason = f"{name} has switched off access to its messages."
    elif development and not (account.tester and customer.tester):
        reason = "The app is in development mode and somebody here has no role on it."
    elif not sandbox.webhook_url:
        reason = "This sandbox was started without a webhook address."
    else:
        return ""
    site = escape(sandbox.site)
    link = f' <a href="{site}">Open {_host(site)}</a>' if site else ""
    return f"<p>{reason}{link}</p>"


def _bubble(sandbox: Sandbox, message: Message) -> str:
    side = "mine" if message.by == "customer" else "theirs"
    clock = time.strftime("%H:%M", time.localtime(message.at / 1000))
    who = "You" if side == "mine" else "The shop"
    return (
        f'<li id="m-{escape(message.mid)}" class="{side}"><span class="hidden">{who}:</span>'
        f"{_content(sandbox, message)}<time>{clock}</time></li>"
    )


def _content(sandbox: Sandbox, message: Message) -> str:
    if message.content.get("is_deleted"):
        return '<p class="gone">Taken back</p>'
    text = message.content.get("text")
    parts = [f"<p>{escape(str(text))}</p>"] if text else []
    parts += [_attachment(sandbox, kind, payload) for kind, payload in message.attachments()]
    return "".join(parts) or '<p class="gone">Something this phone cannot show</p>'


def _attachment(sandbox: Sandbox, kind: str, payload: dict[str, Any]) -> str:
    url = str(payload.get("url", ""))
    if kind == "like_heart":
        return '<p class="heart" role="img" aria-label="A heart">♥</p>'
    if not url.startswith(("http://", "https://")):
        return f'<p class="gone">{escape(kind.replace("_", " "))}</p>'
    url = escape(url.removeprefix(sandbox.url))
    if kind == "image":
        return f'<a href="{url}"><img src="{url}" alt="A picture" width="240" height="180"></a>'
    return f'<p><a href="{url}" rel="noreferrer">{escape(kind.replace("_", " "))}</a></p>'


def _status(sandbox: Sandbox, account: Account, conversation: Conversation | None) -> str:
    if conversation is None or not conversation.messages:
        return f"Say hello to {escape(account.name)}."
    if _is_typing(sandbox, conversation):
        return f"{escape(account.name)} is typing…"
    last = conversation.messages[-1]
    if last.by != "customer":
        return ""
    if conversation.seen_at and conversation.seen_at * 1000 >= last.at:
        return "Seen"
    return TICKS[last.delivery]


def _revision(sandbox: Sandbox, account: Account, customer: Customer) -> str:
    """Moves whenever the page would look different; typing ends by the clock alone."""
    conversation = _found(sandbox, account, customer)
    typing = conversation is not None and _is_typing(sandbox, conversation)
    return f"{sandbox.world.revision}{'t' if typing else ''}"


def _is_typing(sandbox: Sandbox, conversation: Conversation) -> bool:
    return conversation.typing_until > sandbox.world.now()


def _found(sandbox: Sandbox, account: Account, customer: Customer) -> Conversation | None:
    for conversation in sandbox.world.conversations.values():
        if (conversation.ig_id, conversation.customer) == (account.ig_id, customer.username):
            return conversation
    return None


def _query(account: Account, customer: Customer) -> str:
    return urlencode({"account": account.username, "customer": customer.username})
