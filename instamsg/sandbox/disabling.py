"""A webhook that keeps failing is switched off, and its accounts are no longer subscribed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .state import World

if TYPE_CHECKING:
    from .server import Sandbox


def attempted(sandbox: Sandbox, accepted: bool) -> None:
    """After each attempt: remember since when it fails, and end it after `disable_after`."""
    world = sandbox.world
    if accepted and world.failing_since is None:
        return
    with world.lock:
        if accepted:
            world.failing_since = None
        elif world.failing_since is None:
            world.failing_since = world.now()
        elif world.now() - world.failing_since < world.settings.disable_after:
            return
        elif world.disabled_at is None:
            _disable(sandbox)
        world.changed()


def enable(world: World) -> None:
    """Somebody subscribes again: the webhook is on, and whatever failed before is forgotten."""
    world.failing_since = world.disabled_at = None


def _disable(sandbox: Sandbox) -> None:
    sandbox.world.disabled_at = sandbox.world.now()
    for account in sandbox.world.accounts.values():
        account.subscribed_fields = []
    sandbox.webhooks.abandon()
