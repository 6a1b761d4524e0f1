"""What an account's page shows of the walks through its recent conversations."""

from django import template

from accounts.models import Account

register = template.Library()


@register.inclusion_tag("messaging/_history.html", takes_context=True)
def history_of(context, account: Account):
    walks = account.history_syncs.order_by("-pk")
    return {
        "account": account,
        "csrf_token": context.get("csrf_token"),
        "under_way": walks.filter(finished_at=None).first(),
        "last": walks.exclude(finished_at=None).first(),
    }
