"""The page on which a user makes API keys, sees when they were used, and revokes them."""

from uuid import uuid4

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from . import api_keys
from .forms import ApiKeyForm
from .models import ApiKey

SHOWN = 100
"""Revoked and expired keys on the page, the newest; those that work are all there."""


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def keys(request):
    form = ApiKeyForm(request.user, request.POST or None)
    if form.is_valid():
        try:
            key, secret = form.make()
        except (api_keys.TooManyKeys, api_keys.AlreadyMade) as exc:
            form.add_error("name", str(exc))
        else:
            return render(request, "accounts/api_key_made.html", {"key": key, "secret": secret})
    mine = ApiKey.objects.for_user(request.user)
    rows = mine.prefetch_related("accounts")
    working, ending = list(rows.working()), set(mine.ending())
    ended = rows.exclude(pk__in=[key.pk for key in working])[:SHOWN]
    return render(
        request,
        "accounts/api_keys.html",
        {
            "working": working,
            "ending": ending,
            "ended": ended,
            "form": form,
            "submission": uuid4(),
        },
        status=422 if form.errors else 200,
    )


@login_required
@require_POST
def revoke(request, pk):
    key = get_object_or_404(ApiKey.objects.for_user(request.user), pk=pk)
    api_keys.revoke(key)
    messages.success(request, f"“{key.name}” is revoked. Whatever used it is refused from now on.")
    return redirect("api_keys")
