"""Trouble a visitor may switch on, to see what the site makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from . import pages
from .settings import CHOICES
from .wire import Response, redirect

if TYPE_CHECKING:
    from .server import Sandbox

WORDS = {
    "none": ("All is well", "Instagram takes every answer of a shop."),
    "refuses": ("Instagram refuses", "Every answer is refused: the person is not available."),
    "loses": ("Answers are lost", "Instagram sends what the shop wrote, and the reply is lost."),
    "slow": ("Instagram is slow", "It takes five seconds for each answer of a shop."),
}


def form(sandbox: Sandbox) -> str:
    """The switches; open while one of them is on."""
    now = sandbox.world.settings.trouble
    rows = "\n".join(
        f"""<label class="row">
<input type="radio" name="trouble" value="{name}"{" checked" if name == now else ""}>
<span><b>{title}</b><small>{detail}</small></span>
</label>"""
        for name, (title, detail) in WORDS.items()
    )
    return f"""<details class="trouble"{"" if now == "none" else " open"}>
<summary>Trouble to play with</summary>
<form method="post" action="/phone/trouble">
<fieldset>
<legend class="hidden">What goes wrong when a shop sends</legend>
<div class="rows">
{rows}
</div>
</fieldset>
<div class="actions"><button>Apply</button></div>
</form>
</details>"""


def play(sandbox: Sandbox, values: Mapping[str, str]) -> Response:
    chosen = values.get("trouble")
    if chosen not in CHOICES["trouble"]:
        return pages.refusal(sandbox, "There is no such trouble.", 400)
    with sandbox.world.lock:
        sandbox.world.settings.trouble = chosen
        sandbox.world.changed()
    return redirect("/phone/", 303)


def notice(sandbox: Sandbox) -> str:
    """What a chat says while something is switched on; nothing when all is well."""
    name = sandbox.world.settings.trouble
    if name == "none":
        return ""
    return f'<p>{WORDS[name][1]} <a href="/phone/">Change this</a></p>'
