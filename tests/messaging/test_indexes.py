"""Each index is one more page to write for every message."""

import pytest
from django.apps import apps
from django.db import connection

MODELS = list(apps.get_app_config("messaging").get_models())


def columns_of_longer(model) -> set[str]:
    """The columns that an index over all rows begins with, among others that follow."""
    options = model._meta
    all_rows = [one for one in (*options.indexes, *options.constraints) if not one.condition]
    names = [one.fields for one in all_rows if len(one.fields) > 1]
    return {options.get_field(first.lstrip("-")).column for first, *_ in names}


@pytest.mark.django_db
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_index_is_the_beginning_of_another(model):
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    short = {
        tuple(one["columns"]): name
        for name, one in found.items()
        if one["index"] and not one["unique"] and len(one["columns"]) == 1
    }
    assert not {short[key] for key in short if key[0] in columns_of_longer(model)}


@pytest.mark.django_db
@pytest.mark.parametrize("table", ["messages", "attachments", "conversations"])
def test_nothing_is_kept_for_patterns_that_nobody_asks_for(table):
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, table)
    assert not [name for name in found if name.endswith("_like")]
