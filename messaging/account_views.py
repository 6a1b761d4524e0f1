"""The pages of an account that show what it has received and sent: its health, its deletion."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

import accounts.deletion
from accounts.forms import DeleteAccountForm
from accounts.models import Account
from accounts.views import owned_account

from . import account_health, deletion, history


@never_cache
@login_required
@require_GET
def health(request, pk):
    account = get_object_or_404(Account.objects.for_user(request.user), pk=pk)
    context = {
        "account": account,
        "health": account_health.examine(account),
        "is_owner": account.is_owned_by(request.user),
    }
    return render(request, "accounts/account_health.html", context)


@login_required
@require_POST
def look_for_missed(request, pk):
    account = get_object_or_404(Account.objects.for_user(request.user), pk=pk)
    if account.can_send:
        history.begin(account, history.Reason.ASKED)
        messages.success(request, "Recent conversations are being looked through.")
    else:
        messages.error(request, "Instagram cannot be asked: see what is said under “Connection”.")
    return redirect(account)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request, pk):
    account = owned_account(request, pk)
    form = DeleteAccountForm(account, request.POST or None)
    if form.is_valid():
        return redirect("data_deletion_status", accounts.deletion.delete(account))
    context = {"account": account, "form": form, "counts": deletion.what_would_go(account)}
    return render(
        request, "accounts/account_delete.html", context, status=422 if form.errors else 200
    )
