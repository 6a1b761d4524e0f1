"""What machines ask: does this process live, and what does it see?"""

import ipaddress

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from crypto import verdict


@require_safe
def livez(request):
    """This process answers; nothing else is looked at."""
    return HttpResponse("ok", content_type="text/plain")


@never_cache
@require_safe
def readyz(request):
    """Whether webhooks can be taken: 200, or 503. What is wrong, for those who may know.

    A wrong secret is shown and does not make it 503: messages are received and stored all the
    same, and a load balancer that took the site away would lose them.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        database = {"ok": True}
    except DatabaseError as exc:
        database = {"ok": False, "detail": str(exc).partition("\n")[0]}
    found = verdict.latest or verdict.look()
    parts = {
        "database": database,
        "secret": {"ok": found.is_well, "state": found.state, "detail": found.title},
    }
    is_ready = parts["database"]["ok"]
    answer = {"ready": is_ready} | (parts if _may_know(request) else {})
    return JsonResponse(answer, status=200 if is_ready else 503)


def _may_know(request: HttpRequest) -> bool:
    """This machine itself, or whoever holds METRICS_TOKEN."""
    given = request.headers.get("Authorization", "")
    if settings.METRICS_TOKEN and constant_time_compare(given, f"Bearer {settings.METRICS_TOKEN}"):
        return True
    if not settings.TRUSTED_PROXIES and "X-Forwarded-For" in request.headers:
        return False  # A proxy of this machine passes it on for somebody else.
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
