"""The account list, the way to Instagram and back, who may come in, and what is taken back."""

import logging
import secrets

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth import views as auth
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import (
    require_GET,
    require_http_methods,
    require_POST,
    require_safe,
)

from . import connecting, deletion, signed_requests
from .forms import InvitationForm, NewColleagueForm
from .models import Account, DeletionRequest, Invitation, Role, TokenUnreadable, digest

logger = logging.getLogger(__name__)

BROWSER_COOKIE = "connect_browser"
INVITATION = "invitation"


class PasswordResetView(auth.PasswordResetView):
    """Says so when the site cannot send mail, rather than letting people wait for one."""

    extra_context = {"can_send_mail": settings.EMAIL_IS_CONFIGURED}
    # Not the request's host: whoever asks could choose where the link leads.
    extra_email_context = dict(
        zip(("protocol", "domain"), settings.PUBLIC_BASE_URL.split("://", 1), strict=True)
    )


@never_cache
@login_required
@require_GET
def account_list(request):
    accounts = Account.objects.for_user(request.user).with_role_of(request.user)
    return render(request, "accounts/account_list.html", {"accounts": accounts})


@never_cache
@login_required
@require_GET
def account(request, pk):
    account = get_object_or_404(Account.objects.for_user(request.user), pk=pk)
    memberships = list(account.memberships.select_related("user").order_by("created_at"))
    context = {
        "account": account,
        "memberships": memberships,
        "owners": sum(membership.role == Role.OWNER for membership in memberships),
        "is_owner": account.is_owned_by(request.user),
        "invitation_form": InvitationForm(),
    }
    return render(request, "accounts/account.html", context)


@login_required
@require_POST
def connect(request, pk=None):
    account = owned_account(request, pk) if pk else None
    browser = request.COOKIES.get(BROWSER_COOKIE) or secrets.token_urlsafe(32)
    try:
        response = redirect(connecting.begin(request.user, browser, account))
    except connecting.ConnectFailed as exc:
        return _connect_failed(request, exc)
    response.set_cookie(
        BROWSER_COOKIE,
        browser,
        httponly=True,
        secure=settings.IS_HTTPS,
        samesite="Lax",
        # Read where the way begins and where it ends.
        path="/",
    )
    return response


@require_GET
def oauth_callback(request):
    # Not login_required: it would put the authorization code into the login page's address.
    if not request.user.is_authenticated:
        return render(request, "accounts/connect_logged_out.html", status=403)
    try:
        result = connecting.finish(
            request.user, request.COOKIES.get(BROWSER_COOKIE, ""), request.GET
        )
    except connecting.ConnectFailed as exc:
        return _connect_failed(request, exc)
    return render(request, "accounts/connected.html", {"result": result})


@login_required
@require_POST
def subscribe(request, pk):
    account = owned_account(request, pk)
    try:
        warning = connecting.retry_subscription(account)
    except TokenUnreadable as exc:
        warning = str(exc)
    if warning:
        messages.error(request, warning)
    else:
        messages.success(request, f"New messages to @{account.username} arrive here now.")
    return redirect("account_health", pk) if "health" in request.POST else redirect(account)


@login_required
@require_POST
def disconnect(request, pk):
    account = owned_account(request, pk)
    connecting.disconnect(account)
    messages.success(
        request, f"@{account.username} is disconnected. Its conversations are still here."
    )
    return redirect("account_list")


@login_required
@require_POST
def leave(request, pk):
    account = get_object_or_404(Account.objects.for_user(request.user), pk=pk)
    try:
        is_disconnected = deletion.leave(account, request.user)
    except deletion.MustStay as exc:
        messages.error(request, str(exc))
        return redirect(account)
    text = f"You no longer answer for @{account.username}."
    if is_disconnected:
        text += " It is disconnected, since you were the last. Its conversations are kept."
    messages.success(request, text)
    return redirect("account_list")


@login_required
@require_POST
def invite(request, pk):
    account = owned_account(request, pk)
    form = InvitationForm(request.POST)
    if not form.is_valid():
        raise Http404
    _, secret = Invitation.issue(
        Invitation.LIFETIME,
        account=account,
        role=form.cleaned_data["role"],
        invited_by=request.user,
    )
    link = settings.PUBLIC_BASE_URL + reverse("invitation_link", args=[secret])
    return render(request, "accounts/invitation_made.html", {"account": account, "link": link})


@require_safe
def invitation_link(request, secret):
    """Takes the secret out of the address, and so out of logs, histories and referrers."""
    request.session[INVITATION] = secret
    return redirect("invitation")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request):
    invitation = Invitation.objects.find(request.session.get(INVITATION, ""))
    if invitation is None or not invitation.is_open:
        return render(request, "accounts/invitation_over.html", status=410)
    form = None
    if not request.user.is_authenticated:
        form = NewColleagueForm(request.POST or None)
    if request.method == "POST" and (form is None or form.is_valid()):
        with transaction.atomic():
            if not invitation.use():
                return render(request, "accounts/invitation_over.html", status=410)
            user = form.save() if form else request.user
            invitation.admit(user)
        if form:
            login(request, user, backend="django.contrib.auth.backends.ModelBackend")
        request.session.pop(INVITATION, None)
        messages.success(request, f"You now answer for @{invitation.account.username}.")
        return redirect("inbox")
    context = {"invitation": invitation, "form": form}
    return render(request, "accounts/invitation.html", context)


@csrf_exempt
@require_POST
def deauthorize(request):
    """Meta's callback: an owner removed the app at Instagram."""
    try:
        deletion.deauthorize(_signed_request(request))
    except signed_requests.NotGenuine as exc:
        return _not_genuine(request, exc)
    return HttpResponse("OK", content_type="text/plain")


@csrf_exempt
@require_POST
def data_deletion(request):
    """Meta's callback: an owner wants gone what is stored here."""
    try:
        code = deletion.delete_for_instagram(_signed_request(request))
    except signed_requests.NotGenuine as exc:
        return _not_genuine(request, exc)
    url = settings.PUBLIC_BASE_URL + reverse("data_deletion_status", args=[code])
    return JsonResponse({"url": url, "confirmation_code": code})


@never_cache
@require_safe
def data_deletion_status(request, code):
    """For whoever has the code, logged in or not."""
    wish = get_object_or_404(DeletionRequest, digest=digest(code))
    response = render(request, "accounts/data_deletion_status.html", {"wish": wish})
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response


def _signed_request(request):
    return signed_requests.read(request.POST.get("signed_request", ""))


def _not_genuine(request, exc):
    logger.warning("%s refused: %s", request.path, exc)
    return HttpResponse(str(exc), status=exc.status, content_type="text/plain")


def owned_account(request, pk):
    """The account, for its owner; 404 for strangers, 403 for members."""
    account = get_object_or_404(Account.objects.for_user(request.user), pk=pk)
    if not account.is_owned_by(request.user):
        raise PermissionDenied("Only an owner of the account may do this.")
    return account


def _connect_failed(request, exc):
    return render(request, "accounts/connect_failed.html", {"failure": exc}, status=exc.status)
