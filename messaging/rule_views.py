"""The pages of an account's automatic replies: members look and try, owners change."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.models import Account
from accounts.views import owned_account

from . import automation
from .models import Conversation, Rule, settings_of
from .rule_forms import RuleForm, RuleSettingsForm, TryForm
from .rules import Situation, decide


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def rules(request, pk):
    """The list; a POST tries a message out, and changes nothing."""
    account = get_object_or_404(Account.objects.for_user(request.user), pk=pk)
    own, about = list(account.rules.all()), settings_of(account)
    form, decision = TryForm(request.POST or None, initial={"is_first": True}), None
    with timezone.override(about.time_zone):  # The time that is typed is the shop's.
        if form.is_valid():
            tried = form.cleaned_data
            situation = Situation(tried["at"] or timezone.now(), is_first=tried["is_first"])
            decision = decide(tried["text"], own, about, situation)
    context = {
        "account": account,
        "rules": own,
        "about": about,
        "form": form,
        "decision": decision,
        "is_owner": account.is_owned_by(request.user),
    }
    return render(request, "messaging/rules.html", context, status=422 if form.errors else 200)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def add(request, pk):
    account = owned_account(request, pk)
    return _edit(request, Rule(account=account, position=Rule.objects.next_position(account)))


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request, pk):
    return _edit(request, _owned_rule(request, pk))


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def settings(request, pk):
    account = owned_account(request, pk)
    form = RuleSettingsForm(request.POST or None, instance=settings_of(account))
    if form.is_valid():
        form.save()
        messages.success(request, "Saved. It holds from the next message on.")
        return redirect("rules", account.pk)
    context = {"account": account, "form": form}
    return render(
        request, "messaging/rule_settings.html", context, status=422 if form.errors else 200
    )


@login_required
@require_POST
def switch(request, pk, state):
    rule = _owned_rule(request, pk)
    Rule.objects.filter(pk=rule.pk).update(is_enabled=state == "on")
    messages.success(request, f"“{rule.name}” is switched {state}.")
    return redirect("rules", rule.account_id)


@login_required
@require_POST
def move(request, pk, direction):
    rule = _owned_rule(request, pk)
    rule.move(up=direction == "up")
    return redirect("rules", rule.account_id)


@login_required
@require_POST
def delete(request, pk):
    rule = _owned_rule(request, pk)
    rule.delete()
    messages.success(request, f"“{rule.name}” is deleted. What it has answered stays.")
    return redirect("rules", rule.account_id)


@login_required
@require_POST
def in_conversation(request, pk, state):
    conversation = get_object_or_404(Conversation.objects.for_user(request.user), pk=pk)
    automation.switch(conversation, state)
    return redirect(conversation)


def _edit(request, rule):
    form = RuleForm(request.POST or None, instance=rule)
    if form.is_valid():
        form.save()
        messages.success(request, f"“{rule.name}” is saved.")
        return redirect("rules", rule.account_id)
    context = {"account": rule.account, "rule": rule, "form": form}
    return render(request, "messaging/rule.html", context, status=422 if form.errors else 200)


def _owned_rule(request, pk):
    """The rule, for an owner of its account; 404 for strangers, 403 for members."""
    rule = get_object_or_404(Rule.objects.for_user(request.user).select_related("account"), pk=pk)
    if not rule.account.is_owned_by(request.user):
        raise PermissionDenied("Only an owner of the account may do this.")
    return rule
