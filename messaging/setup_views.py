"""The first hour with Meta: what to paste where, and what works already. For superusers."""

import logging
from functools import wraps

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.connecting import WEBHOOK_FIELDS

from . import doctor
from .doctor_app import addresses

logger = logging.getLogger(__name__)


def superusers_only(view):
    @wraps(view)
    @login_required
    def guarded(request):
        if not request.user.is_superuser:
            raise PermissionDenied
        return view(request)

    return guarded


@never_cache
@superusers_only
@require_safe
def setup(request):
    return _page(request)


@never_cache
@superusers_only
@require_POST
def verify_token(request):
    """The page with the token on it, which has to be pasted at Meta; only when it is asked for."""
    logger.info("the verify token was shown to user %s", request.user.pk)
    return _page(request, verify_token=settings.INSTAGRAM_VERIFY_TOKEN)


def _page(request, **shown):
    context = {
        "addresses": addresses(),
        "fields": WEBHOOK_FIELDS,
        "app_id": settings.INSTAGRAM_APP_ID,
        "has_verify_token": bool(settings.INSTAGRAM_VERIFY_TOKEN),
        "report": doctor.examine(),
    }
    return render(request, "messaging/setup.html", context | shown)
