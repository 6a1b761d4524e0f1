"""One message on the phone: what it says, what it answers, and what can be done with it."""

from __future__ import annotations

import hashlib
import time
from html import escape
from typing import TYPE_CHECKING, Any

from . import pages, taps, templates
from .state import Conversation, Message, as_object

if TYPE_CHECKING:
    from .server import Sandbox

NAMES = {
    "ig_post": "A post",
    "share": "A post",
    "ig_reel": "A reel",
    "ig_story": "A story",
    "story_mention": "A mention in a story",
    "file": "A document",
    "fallback": "A link",
    "template": "A card",
    "ephemeral": "A view-once picture",
}


def bubble(sandbox: Sandbox, conversation: Conversation, message: Message, people: str) -> str:
    side = "mine" if message.by == "customer" else "theirs"
    who = "You" if side == "mine" else "The shop"
    clock = time.strftime("%H:%M", time.localtime(message.at / 1000))
    edited = "Edited · " if message.num_edit else ""
    inner = "".join(
        [
            f'<span class="hidden">{who}:</span>',
            _answered(conversation, message),
            _content(sandbox, message),
            _reactions(message),
            choices(
                people + pages.hidden(mid=message.mid),
                taps.offered_in(conversation, message),
                "Choices of the shop",
            ),
            f'<div class="foot"><time>{edited}{clock}</time>',
            _acts(message, people),
            "</div>",
        ]
    )
    # The script replaces a message when this moves; an opened menu must not count as a change.
    look = hashlib.sha256(inner.encode()).hexdigest()[:12]
    return f'<li id="m-{escape(message.mid)}" class="{side}" data-look="{look}">{inner}</li>'


def choices(people: str, offered: list[tuple[int, dict[str, str]]], label: str) -> str:
    """A row of buttons, each of which sends its number."""
    if not offered:
        return ""
    buttons = "".join(
        f'<button name="choice" value="{at}">{escape(row["title"])}</button>' for at, row in offered
    )
    return (
        f'<form class="choices live" method="post" action="/phone/tap" aria-label="{label}">'
        f"{people}{buttons}</form>"
    )


def _content(sandbox: Sandbox, message: Message) -> str:
    if message.gone:
        return '<p class="gone">Taken back</p>'
    text = message.content.get("text")
    parts = [_attachment(sandbox, kind, payload) for kind, payload in message.attachments()]
    parts += [f"<p>{escape(str(text))}</p>"] if text else []
    return "".join(parts) or '<p class="gone">Something this phone cannot show</p>'


def _answered(conversation: Conversation, message: Message) -> str:
    reply_to = as_object(message.content.get("reply_to"))
    if reply_to.get("story"):
        return '<small class="answers">Reply to a story</small>'
    if not reply_to.get("mid"):
        return ""
    known = [row for row in conversation.messages if row.mid == reply_to["mid"]]
    text = str(known[0].content.get("text") or "") if known else ""
    words = text if len(text) <= 60 else f"{text[:59]}…"
    quoted = f"“{escape(words)}”" if words else "a message"
    return f'<small class="answers">Reply to {quoted}</small>'


def _attachment(sandbox: Sandbox, kind: str, payload: dict[str, Any]) -> str:
    url = str(payload.get("url") or payload.get("story_media_url") or "")
    name = NAMES.get(kind, kind.replace("_", " "))
    if kind == "like_heart":
        return '<p class="heart" role="img" aria-label="A heart">♥</p>'
    if kind == "template":
        return _cards(payload)
    if not url.startswith(("http://", "https://")):
        return f'<p class="gone">{escape(name)}</p>'
    own = url.startswith(sandbox.url)
    url = escape(url.removeprefix(sandbox.url))
    if kind in ("video", "audio"):
        return f'<{kind} controls preload="metadata" src="{url}" aria-label="A {kind}"></{kind}>'
    title = str(payload.get("title") or "")
    caption = f"{escape(name)}{f': {escape(title)}' if title else ''}"
    if kind == "image" or (own and kind in ("ig_post", "ig_story", "share", "story_mention")):
        picture = f'<img src="{url}" alt="A picture" width="240" height="180">'
        below = "" if kind == "image" else f'<small class="caption">{caption}</small>'
        return f'<a href="{url}">{picture}</a>{below}'
    # The browser's own reader has no place under this policy, so a document is saved instead.
    saved = " download" if own and kind == "file" else ""
    return f'<p><a href="{url}" rel="noreferrer"{saved}>{caption}</a></p>'


def _cards(payload: dict[str, Any]) -> str:
    listed = as_object(payload.get("generic")).get("elements")
    cards = templates.rows(listed)
    shown = "".join(
        f"<p><b>{escape(str(row.get('title') or ''))}</b>"
        f"<small>{escape(str(row.get('subtitle') or ''))}</small>{_links(row)}</p>"
        for row in cards
    )
    return shown or '<p class="gone">A card</p>'


def _links(card: dict[str, Any]) -> str:
    """The buttons of a card that lead somewhere; those that answer are among the choices."""
    return "".join(
        f'<a class="link" href="{escape(row["url"])}" rel="noreferrer">{escape(row["title"])}</a>'
        for row in templates.rows(card.get("buttons"))
        if str(row.get("url", "")).startswith(("http://", "https://")) and row.get("title")
    )


def _reactions(message: Message) -> str:
    if not message.reactions:
        return ""
    shown = []
    for who, reaction in message.reactions.items():
        name = "You" if who == "customer" else "The shop"
        emoji = escape(reaction["emoji"])
        shown.append(f'<span><span class="hidden">{name} reacted with</span>{emoji}</span>')
    return f'<div class="reactions">{"".join(shown)}</div>'


def _acts(message: Message, people: str) -> str:
    """Everything the customer can do with this message, behind one small word."""
    if message.gone:
        return ""
    own = message.by == "customer"
    reacted = "customer" in message.reactions
    emojis = "".join(
        f'<button name="what" value="react:{emoji}"><span class="hidden">React with {name}</span>'
        f'<span aria-hidden="true">{emoji}</span></button>'
        for emoji, name in taps.EMOJIS.items()
    )
    undo = '<button name="what" value="unreact">Take the reaction back</button>' if reacted else ""
    unsend = '<button name="what" value="unsend">Unsend</button>' if own else ""
    hidden = people + pages.hidden(mid=message.mid)
    text = str(message.content.get("text", ""))
    edit = _line(hidden, "edit", "Edit", text) if taps.is_editable(message) else ""
    return (
        '<details class="acts"><summary>Actions</summary>'
        f'<form class="live" method="post" action="/phone/act">{hidden}'
        f'<div class="emojis">{emojis}</div>{undo}{unsend}</form>'
        f"{_line(hidden, 'reply', 'Reply', '')}{edit}</details>"
    )


def _line(hidden: str, what: str, name: str, text: str) -> str:
    return (
        f'<form class="live line" method="post" action="/phone/act">{hidden}'
        f'<input name="text" maxlength="1000" autocomplete="off" required'
        f' aria-label="{name}" placeholder="{name}…" value="{escape(text)}">'
        f'<button name="what" value="{what}">{name}</button></form>'
    )
