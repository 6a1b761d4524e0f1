"""What the database grows by for each text message: kept as a webhook, then shown as well.

With every index, on a database that holds nothing else.
"""

from django.db import connection

from accounts.models import Account
from messaging.models import Message

from .backlog import clear, drain, fill
from .measuring import Figures, Table


def run(events: int = 20_000, customers: int = 2_000) -> list[Table]:
    account = Account.objects.create(instagram_account_id="17841400000000909", username="bench")
    clear()
    sizes = [_size()]
    fill(account, events, customers)
    sizes.append(_size())
    drain(1)
    sizes.append(_size())
    stored = Message.objects.count()
    cases = {"the webhook alone": sizes[1], "read as well": sizes[2]}
    results: dict[str, list[Figures]] = {
        name: [{"bytes": (size - sizes[0]) / events, "messages": stored}]
        for name, size in cases.items()
    }
    title = f"growth: a message, of {events:,} from {customers:,} customers, on "
    return [Table(title + connection.display_name, "bytes", results)]


def _size() -> int:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            # Free pages, which deleted rows left, are used again before the file grows.
            cursor.execute(
                "SELECT (page_count - freelist_count) * page_size"
                " FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
            )
        else:
            cursor.execute("SELECT pg_database_size(current_database())")
        return cursor.fetchone()[0]
