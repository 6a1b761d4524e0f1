"""The pages on which owners forward an account to their CRM, and members see what became of it."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.models import Account
from accounts.views import owned_account

from . import endpoints
from .forms import EndpointForm, LogForm, ReplayForm
from .models import CrmEndpoint, Delivery

PAGE = 50


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def endpoint_list(request, pk):
    account = get_object_or_404(Account.objects.for_user(request.user), pk=pk)
    form = EndpointForm(request.POST or None)
    if request.method == "POST" and owned_account(request, pk) and form.is_valid():
        try:
            endpoint, secret = endpoints.add(account, **form.cleaned_data)
        except endpoints.EndpointRefused as exc:
            form.add_error(None, str(exc))
        else:
            return _show_secret(request, endpoint, secret)
    context = {
        "account": account,
        "endpoints": CrmEndpoint.objects.for_user(request.user).filter(account=account),
        "form": form,
        "is_owner": account.is_owned_by(request.user),
    }
    return render(request, "messaging/endpoint_list.html", context, status=_status(form))


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def endpoint(request, pk, endpoint_id):
    endpoint = _found(request, pk, endpoint_id)
    form = EndpointForm(request.POST or None, initial=EndpointForm.of(endpoint))
    if request.method == "POST" and owned_account(request, pk) and form.is_valid():
        endpoints.change(endpoint, **form.cleaned_data)
        messages.success(request, "Saved.")
        return redirect(endpoint)
    context = {
        "account": endpoint.account,
        "endpoint": endpoint,
        "form": form,
        "latest": endpoint.deliveries.for_log()[:5],
        "waiting": endpoint.deliveries.waiting().count(),
        "is_owner": endpoint.account.is_owned_by(request.user),
    }
    return render(request, "messaging/endpoint.html", context, status=_status(form))


@login_required
@require_POST
def enable(request, pk, endpoint_id):
    endpoint = _owned(request, pk, endpoint_id)
    endpoints.enable(endpoint)
    messages.success(request, "It is on. What waited goes out now.")
    return redirect(endpoint)


@login_required
@require_POST
def disable(request, pk, endpoint_id):
    endpoint = _owned(request, pk, endpoint_id)
    endpoints.disable(endpoint)
    messages.success(request, "It is off. What happens from now on is not kept for it.")
    return redirect(endpoint)


@never_cache
@login_required
@require_POST
def rotate(request, pk, endpoint_id):
    endpoint = _owned(request, pk, endpoint_id)
    return _show_secret(request, endpoint, endpoints.rotate(endpoint))


@login_required
@require_POST
def end_overlap(request, pk, endpoint_id):
    endpoint = _owned(request, pk, endpoint_id)
    endpoints.end_overlap(endpoint)
    messages.success(request, "The secret before is forgotten; it signs nothing any more.")
    return redirect(endpoint)


@login_required
@require_POST
def test(request, pk, endpoint_id):
    endpoint = _owned(request, pk, endpoint_id)
    try:
        delivery = endpoints.test(endpoint)
    except endpoints.EndpointRefused as exc:
        messages.error(request, str(exc))
        return redirect(endpoint)
    return redirect(delivery)


@login_required
@require_POST
def delete(request, pk, endpoint_id):
    endpoint = _owned(request, pk, endpoint_id)
    endpoints.delete(endpoint)
    messages.success(request, f"Nothing is forwarded to {endpoint.host} any more.")
    return redirect("endpoint_list", pk)


@never_cache
@login_required
@require_GET
def deliveries(request, pk, endpoint_id):
    endpoint = _found(request, pk, endpoint_id)
    form = LogForm(request.GET)
    rows = form.narrow(endpoint.deliveries.for_log())
    page = list(rows[: PAGE + 1])
    context = {
        "account": endpoint.account,
        "endpoint": endpoint,
        "form": form,
        "replay_form": ReplayForm(),
        "deliveries": page[:PAGE],
        "older": form.older(page[PAGE - 1].pk) if len(page) > PAGE else "",
        "is_owner": endpoint.account.is_owned_by(request.user),
    }
    return render(request, "messaging/delivery_list.html", context)


@never_cache
@login_required
@require_GET
def delivery(request, pk, endpoint_id, delivery_id):
    endpoint = _found(request, pk, endpoint_id)
    delivery = get_object_or_404(
        endpoint.deliveries.select_related("conversation"), public_id=delivery_id
    )
    context = {
        "account": endpoint.account,
        "endpoint": endpoint,
        "delivery": delivery,
        "log": delivery.log.all(),
        "is_owner": endpoint.account.is_owned_by(request.user),
    }
    return render(request, "messaging/delivery.html", context)


@login_required
@require_POST
def replay_one(request, pk, endpoint_id, delivery_id):
    endpoint = _owned(request, pk, endpoint_id)
    one = get_object_or_404(Delivery, endpoint=endpoint, public_id=delivery_id)
    if endpoints.replay(endpoint.deliveries.filter(pk=one.pk)):
        messages.success(request, _on_its_way(endpoint, "It is"))
    else:
        messages.error(request, "There is nothing to post again: it was taken back, or a test.")
    return redirect(one)


@login_required
@require_POST
def replay(request, pk, endpoint_id):
    endpoint = _owned(request, pk, endpoint_id)
    form = ReplayForm(request.POST)
    if not form.is_valid():
        reasons = [reason for found in form.errors.values() for reason in found]
        messages.error(request, f"{' '.join(reasons)} Nothing was posted again.")
    else:
        count = endpoints.replay(form.narrow(endpoint.deliveries.all()))
        what = "One delivery is" if count == 1 else f"{count:,} deliveries are"
        messages.success(request, _on_its_way(endpoint, what))
    return redirect("deliveries", pk, endpoint_id)


def _found(request, pk, endpoint_id):
    rows = CrmEndpoint.objects.for_user(request.user).select_related("account")
    return get_object_or_404(rows, account=pk, public_id=endpoint_id)


def _owned(request, pk, endpoint_id):
    endpoint = _found(request, pk, endpoint_id)
    if not endpoint.account.is_owned_by(request.user):
        raise PermissionDenied("Only an owner of the account may do this.")
    return endpoint


def _show_secret(request, endpoint, secret):
    context = {"account": endpoint.account, "endpoint": endpoint, "secret": secret}
    return render(request, "messaging/endpoint_secret.html", context)


def _on_its_way(endpoint, what):
    if endpoint.is_enabled:
        return f"{what} posted again now."
    return f"{what} posted again as soon as the endpoint is switched on."


def _status(form):
    return 422 if form.errors else 200
