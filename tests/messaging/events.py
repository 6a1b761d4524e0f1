"""Webhook events in the shapes of Instagram's documentation, one small function each."""

import json

ACCOUNT = "17841405309213877"
CUSTOMER = "1184527390664218"
START = 1760000000000
CDN = "https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id="


def told(at=0, customer=CUSTOMER, *, by_shop=False, **what):
    """An event `at` milliseconds after the start."""
    sides = {"id": customer}, {"id": ACCOUNT}
    sender, recipient = reversed(sides) if by_shop else sides
    return {"sender": sender, "recipient": recipient, "timestamp": START + at, **what}


def message(mid, text=None, at=0, *, attachments=(), customer=CUSTOMER, **more):
    content = {"mid": mid, **more}
    if text is not None:
        content["text"] = text
    if attachments:
        content["attachments"] = list(attachments)
    return told(at, customer, by_shop=bool(more.get("is_echo")), message=content)


def echo(mid, text, at=0, **more):
    return message(mid, text, at, is_echo=True, **more)


def attachment(kind, **payload):
    return {"type": kind, "payload": payload} if payload else {"type": kind}


def edit(mid, text=None, number="1", at=0, **more):
    part = {"mid": mid, "num_edit": number} | ({"text": text} if text is not None else {})
    return told(at, message_edit=part, **more)


def nameless_edit(mid, at=0):
    """What is really delivered now and then: nobody in it, and no text."""
    return {"timestamp": START + at, "message_edit": {"mid": mid, "num_edit": 0}}


def unsend(mid, at=0, **more):
    return told(at, message={"mid": mid, "is_deleted": True}, **more)


def react(mid, emoji="\u2764\ufe0f", at=0, **more):
    part = {"mid": mid, "action": "react", "reaction": "love", "emoji": emoji}
    return told(at, reaction=part, **more)


def unreact(mid, at=0, **more):
    return told(at, reaction={"mid": mid, "action": "unreact"}, **more)


def seen(mid, at=0, **more):
    return told(at, read={"mid": mid}, **more)


def postback(title, payload, at=0, mid="", **more):
    part = {"title": title, "payload": payload} | ({"mid": mid} if mid else {})
    return told(at, postback=part | more)


def referral(ref, at=0):
    return told(at, referral={"ref": ref, "source": "IGME-SOURCE-LINK", "type": "OPEN_THREAD"})


def body(*events, field="messaging", entry=ACCOUNT):
    one = {"id": entry, "time": START + 123, field: list(events)}
    return {"object": "instagram", "entry": [one]}


def change(field, value, entry=ACCOUNT):
    return body({"field": field, "value": value}, field="changes", entry=entry)


def as_bytes(content) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
