"""Who is there after a start or a reset; all invented. The ids never change: tests name them."""

from __future__ import annotations

from typing import Any

ACCOUNTS: list[dict[str, Any]] = [
    {
        "username": "luna.ceramics",
        "name": "Luna Ceramics",
        "ig_id": "17841400000000101",
        "app_scoped_id": "26487000000000101",
        "account_type": "BUSINESS",
        "ice_breakers": [
            {"title": "When are you open?", "payload": "HOURS"},
            {"title": "Do you ship abroad?", "payload": "SHIPPING"},
        ],
    },
    {
        "username": "north.bikes",
        "name": "North Bikes",
        "ig_id": "17841400000000202",
        "app_scoped_id": "26487000000000202",
        "account_type": "MEDIA_CREATOR",
    },
    {
        "username": "theo.at.home",
        "name": "Theo Brandt",
        "ig_id": "17841400000000303",
        "app_scoped_id": "26487000000000303",
        "account_type": "PERSONAL",
    },
    {
        # Logs in without trouble, then every call fails: no role on an app in development mode.
        "username": "harbor.tea",
        "name": "Harbor Tea",
        "ig_id": "17841400000000404",
        "app_scoped_id": "26487000000000404",
        "account_type": "BUSINESS",
        "tester": False,
    },
]

CUSTOMERS: list[dict[str, Any]] = [
    {"username": "mila.tests", "name": "Mila Novak"},
    {"username": "jonas.outdoors", "name": "Jonas Lind"},
    {"username": "amara.k", "name": "Amara Keita"},
]
