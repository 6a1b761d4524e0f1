"""How the tables are emptied after a test that commits; Django's own way takes most of a run.

Its flush truncates on PostgreSQL, which makes new files for every table and index, and then has
`post_migrate` write its rows again. Here rows are deleted, and those rows stay.
"""

from django.db import connections, transaction
from django.test import TransactionTestCase

FROM_MIGRATE = {"django_content_type", "auth_permission"}
"""What `post_migrate` fills, and no test changes."""


def install() -> None:
    TransactionTestCase._fixture_teardown = _empty_all


def _empty_all(case: TransactionTestCase) -> None:
    for name in case._databases_names(include_mirrors=False):
        _empty(connections[name])


def _empty(connection) -> None:
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    quote = connection.ops.quote_name
    # Foreign keys are looked at when it commits, so any order will do.
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        for table in set(tables) - FROM_MIGRATE:
            cursor.execute(f"DELETE FROM {quote(table)}")
