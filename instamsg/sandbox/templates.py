"""Cards with buttons: the generic and the button template of the Send API."""

from __future__ import annotations

from typing import Any

from .errors import invalid_message
from .state import as_object

MOST_CARDS = 10
MOST_BUTTONS = 3
LINE_LENGTH = 80
TEXT_LENGTH = 640


def check(payload: dict[str, Any]) -> None:
    """Raise for a template the platform would not send."""
    match payload.get("template_type"):
        case "generic":
            cards = payload.get("elements")
            if not isinstance(cards, list) or not 1 <= len(cards) <= MOST_CARDS:
                raise invalid_message(f"(#100) A generic template has 1 to {MOST_CARDS} elements")
            for card in cards:
                _check_card(as_object(card))
        case "button":
            _check_line(payload.get("text"), "text", TEXT_LENGTH)
            _check_buttons(payload.get("buttons"), least=1)
        case _:
            raise invalid_message("(#100) Param template_type must be generic or button")


def shown(payload: dict[str, Any]) -> dict[str, Any]:
    """The payload of its echo. A button template is one card, as far as anybody has seen."""
    if payload["template_type"] == "button":
        cards = [{"title": payload["text"], "buttons": payload["buttons"]}]
    else:
        cards = payload["elements"]
    return {"generic": {"elements": cards}}


def postbacks(payload: dict[str, Any]) -> list[dict[str, str]]:
    """The buttons that send their payload back, of all cards in turn."""
    cards = [payload, *rows(payload.get("elements"))]
    buttons = [button for card in cards for button in rows(card.get("buttons"))]
    return [
        {"kind": "postback", "title": str(row["title"]), "payload": str(row["payload"])}
        for row in buttons
        if row.get("type") == "postback"
    ]


def rows(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _check_card(card: dict[str, Any]) -> None:
    _check_line(card.get("title"), "title", LINE_LENGTH)
    if card.get("subtitle") is not None:
        _check_line(card["subtitle"], "subtitle", LINE_LENGTH)
    _check_buttons(card.get("buttons", []), least=0)


def _check_buttons(buttons: Any, least: int) -> None:
    if not isinstance(buttons, list) or not least <= len(buttons) <= MOST_BUTTONS:
        raise invalid_message(f"(#100) There may be {least} to {MOST_BUTTONS} buttons")
    for button in map(as_object, buttons):
        target = {"web_url": "url", "postback": "payload"}.get(str(button.get("type")))
        if target is None:
            raise invalid_message("(#100) A button is a web_url or a postback")
        if not all(
            isinstance(button.get(name), str) and button[name] for name in ("title", target)
        ):
            raise invalid_message(f"(#100) A button needs a title and a {target}")


def _check_line(value: Any, name: str, most: int) -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= most:
        raise invalid_message(f"(#100) A template's {name} has 1 to {most} characters")
