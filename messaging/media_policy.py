"""What may be done with what comes along with a message, by its kind (platform reference, 9.2).

What customers send themselves is kept. Stories and shared posts are the work of others, and what
is to be seen once is to be seen once: of these no byte is ever stored here. Where there is a link
to look at them, the person's own browser follows it.
"""

from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.utils import timezone


class Policy(NamedTuple):
    """`link_for` is how long the link that came along is worth following."""

    is_kept: bool = False
    link_for: timedelta = timedelta()


LINKS_LIVE = timedelta(days=7)
"""About so long the addresses of Instagram's own file servers work."""

KEEP = Policy(is_kept=True, link_for=LINKS_LIVE)
STORY = Policy(link_for=timedelta(hours=24))
SHARED = Policy(link_for=LINKS_LIVE)
NOTHING = Policy()

POLICIES = {
    # From the customer, or an echo of what the account sent.
    **dict.fromkeys(("image", "video", "audio", "file", "sticker"), KEEP),
    **dict.fromkeys(("story_mention", "ig_story", "story"), STORY),
    **dict.fromkeys(("share", "ig_post", "ig_reel", "reel", "media"), SHARED),
    **dict.fromkeys(("fallback", "unsupported_type"), SHARED),
    # Of `ephemeral`, `template` and what nobody knows yet: nothing.
}

FILE_HOSTS = (".fbsbx.com", ".cdninstagram.com", ".fbcdn.net", ".giphy.com")
PAGE_HOSTS = (".instagram.com",)


def of(kind: str) -> Policy:
    return POLICIES.get(kind, NOTHING)


def is_file_host(parts: SplitResult) -> bool:
    """Whether files may be fetched from there: from Instagram alone, and never in the clear.

    In development the offline Instagram is one as well.
    """
    return _is_on(parts, FILE_HOSTS) or _is_sandbox(parts)


def link(kind: str, url: str, sent_at: datetime) -> str:
    """`url` if a person's browser may be sent there, else "".

    The page of a post stays where it is; files, and stories, are gone after a while.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # Reading it checks it.
    except ValueError:
        return ""
    policy = of(kind)
    if not policy.link_for or "@" in parts.netloc or "\\" in url:
        return ""
    if policy is not STORY and _is_on(parts, PAGE_HOSTS):
        return url
    is_over = timezone.now() > sent_at + policy.link_for
    is_instagrams = _is_on(parts, FILE_HOSTS + PAGE_HOSTS) or _is_sandbox(parts)
    return url if is_instagrams and not is_over else ""


def _is_on(parts: SplitResult, hosts: tuple[str, ...]) -> bool:
    return parts.scheme == "https" and f".{parts.hostname}".endswith(hosts)


def _is_sandbox(parts: SplitResult) -> bool:
    sandbox = urlsplit(settings.INSTAGRAM_GRAPH_URL)
    is_one = not settings.IS_PRODUCTION and sandbox.scheme == "http"
    return is_one and (parts.scheme, parts.netloc) == ("http", sandbox.netloc)
