"""How fast a shop may send, and what the headers of the platform's answers say of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .errors import GraphError
from .state import Account

if TYPE_CHECKING:
    from .server import Sandbox

# What the header says of an account that is over its limit, in minutes.
REGAIN = 1


def spend(sandbox: Sandbox, account: Account, content: dict[str, Any] | None = None) -> None:
    """Count one call of the Send API; raises when it is one too many for this second."""
    settings = sandbox.world.settings
    if settings.send_limit == "none":
        return
    kinds = [attachment["type"] for attachment in (content or {}).get("attachments", [])]
    lane, rate = "send", settings.send_rate
    if "audio" in kinds or "video" in kinds:
        lane, rate = "media", settings.media_rate
    if not sandbox.pace.allows(f"{account.ig_id}:{lane}", rate):
        raise _too_fast(account, settings.send_limit)


def usage(sandbox: Sandbox, account: Account | None) -> dict[str, str]:
    """The usage headers of the settings; none of them until a value is set."""
    settings, headers = sandbox.world.settings, {}
    if settings.app_usage:
        headers["X-App-Usage"] = json.dumps(settings.app_usage)
    if settings.account_usage and account:
        headers |= _of(account, settings.account_usage)
    return headers


def _too_fast(account: Account, code: str) -> GraphError:
    if code == "613":
        error = GraphError("(#613) Calls to this api have exceeded the rate limit.", 613)
        regain = 0
    else:
        error = GraphError(
            "(#80002) There have been too many calls to this Instagram account.", 80002
        )
        regain = REGAIN
    error.headers = _of(account, {"call_count": 100, "estimated_time_to_regain_access": regain})
    return error


def _of(account: Account, values: dict[str, Any]) -> dict[str, str]:
    known = {"type": "instagram", "call_count": 0, "total_cputime": 0, "total_time": 0}
    row = {**known, "estimated_time_to_regain_access": 0, **values}
    return {"X-Business-Use-Case-Usage": json.dumps({account.ig_id: [row]})}
