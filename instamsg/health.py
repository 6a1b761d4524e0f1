"""What machines ask: does this process live, what does it see, and how much is done?"""

import ipaddress
import json

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden, JsonResponse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from messaging import metrics as figures
from messaging import readiness

PASSED_ON = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")
"""What proxies add: with one of these, a request from this machine may be somebody else's."""


@require_safe
def livez(request):
    """This process answers; nothing else is looked at."""
    return HttpResponse("ok", content_type="text/plain")


@never_cache
@require_safe
def health(request):
    """As monitors of the predecessor know it: constant, touches nothing."""
    return JsonResponse(
        {
            "status": "healthy",
            "timestamp": timezone.now().isoformat(),
            "environment": settings.ENVIRONMENT,
        }
    )


@never_cache
@require_safe
def readyz(request):
    """Whether everything works: 200, or 503. What is wrong, for those who may know.

    A wrong secret is shown and does not make it 503 (docs/adr/0008). A load balancer asks with
    ?exclude=worker,queue: without them messages are received and stored all the same, and taking
    the site away would lose them.
    """
    left_out = request.GET.get("exclude", "").split(",")
    parts = readiness.look([name for name in readiness.PARTS if name not in left_out])
    is_ready = all(part.ok for part in parts.values() if part.is_required)
    answer = {"ready": is_ready}
    if _may_know(request):
        answer["release"] = settings.RELEASE
        answer |= {name: _shown(part) for name, part in parts.items()}
    # One line for each part.
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in answer.items())
    return HttpResponse(
        f"{{\n{lines}\n}}\n",
        content_type="application/json",
        status=200 if is_ready else 503,
    )


@never_cache
@require_safe
def metrics(request):
    if not _may_know(request):
        return HttpResponseForbidden(
            "Figures are for this machine, and for whoever holds METRICS_TOKEN.\n",
            content_type="text/plain",
        )
    return HttpResponse(figures.page(), content_type="text/plain; version=0.0.4; charset=utf-8")


def _shown(part: readiness.Part) -> dict[str, object]:
    state = {"state": part.state} if part.state else {}
    return {"ok": part.ok, **state, "detail": part.detail}


def _may_know(request: HttpRequest) -> bool:
    """This machine itself, or whoever holds METRICS_TOKEN."""
    given = request.headers.get("Authorization", "")
    if settings.METRICS_TOKEN and constant_time_compare(given, f"Bearer {settings.METRICS_TOKEN}"):
        return True
    if any(name in request.headers for name in PASSED_ON):
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
