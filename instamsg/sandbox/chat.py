"""The page of one chat, as the customer has it on their phone."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from . import bubbles, pages, taps, trouble
from .state import Account, Conversation, Customer
from .wire import Response

if TYPE_CHECKING:
    from .server import Sandbox

TICKS = {
    "none": "Sent",
    # Instagram took it and lost it: the customer sees no difference.
    "lost": "Sent",
    "waiting": "Sent · waiting for the site to take it",
    "delivered": "Delivered",
    "failed": "The site never took it",
}


def page(sandbox: Sandbox, account: Account, customer: Customer) -> Response:
    here = escape(query(account, customer))
    body = f"""<main class="phone">
<header class="bar">
<a class="back" href="/phone/" aria-label="Choose somebody else">&lsaquo;</a>
{pages.avatar(account.username, 40)}
<h1>{escape(account.name)}<small>You are {escape(customer.name)}</small></h1>
</header>
<div id="news" role="region" aria-label="Chat with {escape(account.name)}" tabindex="0"
 data-source="/phone/messages?{here}" data-revision="{revision(sandbox, account, customer)}">
<div class="all">
{fragment(sandbox, account, customer)}
</div>
</div>
<noscript><p class="reload"><a href="/phone/chat?{here}">Look for new messages</a></p></noscript>
{_compose(account, customer)}
</main>
<script src="/static/phone.js" defer></script>"""
    return pages.page(f"{account.name} · Sandbox phone", body)


def fragment(sandbox: Sandbox, account: Account, customer: Customer) -> str:
    """The part that changes; the script asks for it again and again."""
    conversation = found(sandbox, account, customer)
    rows = ""
    if conversation is not None:
        people = pages.hidden(account=account.username, customer=customer.username)
        rows = "\n".join(
            bubbles.bubble(sandbox, conversation, message, people)
            for message in conversation.messages
        )
    notices = _notice(sandbox, account, customer) + trouble.notice(sandbox)
    return f"""<div id="notice">{notices}</div>
<ol id="messages" role="log" aria-live="polite" aria-label="Messages">{rows}</ol>
<div id="openers">{_openers(account, customer, conversation)}</div>
<p id="status">{_status(sandbox, account, conversation)}</p>"""


def revision(sandbox: Sandbox, account: Account, customer: Customer) -> str:
    """Moves whenever the page would look different; typing ends by the clock alone."""
    conversation = found(sandbox, account, customer)
    typing = conversation is not None and _is_typing(sandbox, conversation)
    return f"{sandbox.world.revision}{'t' if typing else ''}"


def found(sandbox: Sandbox, account: Account, customer: Customer) -> Conversation | None:
    for conversation in sandbox.world.conversations.values():
        if (conversation.ig_id, conversation.customer) == (account.ig_id, customer.username):
            return conversation
    return None


def query(account: Account, customer: Customer) -> str:
    return urlencode({"account": account.username, "customer": customer.username})


def _compose(account: Account, customer: Customer) -> str:
    more = "\n".join(
        f'<button name="what" value="{kind}">{name}</button>' for kind, name in taps.KINDS.items()
    )
    return f"""<form class="compose live" id="compose" method="post" action="/phone/say">
{pages.hidden(account=account.username, customer=customer.username)}
<div class="line">
<label class="hidden" for="text">Message to {escape(account.name)}</label>
<input id="text" name="text" maxlength="1000" autocomplete="off" enterkeyhint="send"
 placeholder="Message">
<button class="primary" name="what" value="text">Send</button>
<button class="picture" name="what" value="picture" title="Send a picture">
<svg viewBox="0 0 24 24" width="24" height="24" aria-hidden="true"><path d="M4 5h16v14H4zM4 16l5-5
 4 4 3-3 4 4M15.5 9.5h.01"/></svg>
<span class="hidden">Send a picture</span></button>
</div>
<details class="more">
<summary>More to send</summary>
<div class="kinds">
{more}
</div>
</details>
</form>"""


def _openers(account: Account, customer: Customer, conversation: Conversation | None) -> str:
    """The questions a shop offers to somebody who has not written yet."""
    if not account.ice_breakers or (conversation is not None and conversation.messages):
        return ""
    people = pages.hidden(account=account.username, customer=customer.username)
    return bubbles.choices(people, list(enumerate(account.ice_breakers)), "Questions to begin with")


def _notice(sandbox: Sandbox, account: Account, customer: Customer) -> str:
    """Why nothing reaches the site, when nothing does."""
    name = escape(account.name)
    development = sandbox.world.settings.app_mode == "development"
    if sandbox.world.disabled_at is not None and not account.subscribed_fields:
        reason = "The webhook failed for too long and was switched off. Connect the shop again."
    elif not account.subscribed_fields:
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
    link = f' <a href="{site}">Open {pages.host(site)}</a>' if site else ""
    return f"<p>{reason}{link}</p>"


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


def _is_typing(sandbox: Sandbox, conversation: Conversation) -> bool:
    return conversation.typing_until > sandbox.world.now()
