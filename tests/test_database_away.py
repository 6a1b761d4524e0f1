"""What a PostgreSQL server that goes away and comes back costs."""

import time

import pytest
from django.conf import settings
from django.db import connection
from psycopg_pool import ConnectionPool, PoolTimeout

from tests.waiting import free_port


@pytest.mark.skipif(settings.IS_SQLITE, reason="SQLite has no server that could be away")
def test_a_server_that_is_back_is_noticed_at_once(db):
    here = connection.get_connection_params()
    options = settings.DATABASES["default"]["OPTIONS"]["pool"]
    with ConnectionPool(
        kwargs=here | {"host": "127.0.0.1", "port": free_port()}, **options
    ) as pool:
        until = time.monotonic() + 3.5
        while time.monotonic() < until:
            with pytest.raises(PoolTimeout):
                pool.getconn(timeout=0.2)
        pool.kwargs |= {"host": here.get("host"), "port": here.get("port")}
        pool.putconn(pool.getconn(timeout=1.5))
