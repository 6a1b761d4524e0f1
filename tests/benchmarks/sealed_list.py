"""Accounts as the ORM lists them, beside the same table read by a model with plain text."""

import gc
import time
from functools import partial

from django.apps.registry import Apps
from django.db import connection, models

from accounts.models import Account

from .measuring import Figures, Table, interleave
from .tokens import ONE, fill


def run(rows: int = 10_000, rounds: int = 40) -> list[Table]:
    fill(rows, ONE)
    cases = {
        "plain text": partial(_list, _plain_model()),
        "sealed": partial(_list, Account),
    }
    title = f"sealed_list: {rows:,} accounts, on {connection.display_name}"
    return [Table(title, "ms", interleave(cases, rounds))]


def _list(model: type[models.Model]) -> Figures:
    gc.collect()
    start = time.perf_counter()
    accounts = list(model.objects.all())
    took = time.perf_counter() - start
    return {"ms": took * 1000, "accounts": len(accounts)}


def _plain_model() -> type[models.Model]:
    """The accounts without EncryptedTextField, in a registry of its own: no app sees it."""
    fields = {
        field.name: models.BigIntegerField(null=True, db_column=field.column)
        if field.is_relation
        else field.clone()
        for field in Account._meta.local_concrete_fields
    }
    column = Account._meta.get_field("access_token").column
    fields["access_token"] = models.TextField(null=True, db_column=column)

    class Meta:
        app_label = "benchmarks"
        apps = Apps()
        managed = False
        db_table = Account._meta.db_table
        ordering = Account._meta.ordering

    return type("PlainAccount", (models.Model,), {"__module__": __name__, "Meta": Meta, **fields})
