"""Each index is one more page to write for every message."""

from contextlib import closing
from threading import Thread

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection, transaction

from tests.waiting import eventually

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


@pytest.fixture
def before():
    """The tables before the migration, with two of the indexes that it drops."""
    call_command("migrate", "messaging", "0009", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX one_more ON attachments (message_id)")
        cursor.execute("CREATE INDEX another ON messages (conversation_id)")
    yield
    call_command("migrate", verbosity=0)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="an upgrade stops the site on SQLite")
@pytest.mark.django_db(transaction=True)
def test_nobody_waits_while_indexes_are_dropped_under_a_writer(before):
    def migrate():
        call_command("migrate", "messaging", "0010", verbosity=0)
        connection.close()

    waits = """
        SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE NOT granted AND datname = current_database()
    """
    thread = Thread(target=migrate)
    with closing(connection.copy()) as other, other.cursor() as reader:
        with transaction.atomic(), connection.cursor() as writer:
            writer.execute("LOCK TABLE messages IN ROW EXCLUSIVE MODE")
            thread.start()
            eventually(lambda: reader.execute(waits).fetchone())
            reader.execute("SET lock_timeout = '1s'")
            reader.execute("SELECT 1 FROM attachments")
            reader.execute("SELECT 1 FROM messages")
        thread.join()
        left = "SELECT 1 FROM pg_indexes WHERE indexname IN ('one_more', 'another')"
        assert reader.execute(left).fetchone() is None
