"""The entry point of every WSGI server."""

import gc
import os
import threading
import time
from importlib import import_module

from django.core.wsgi import get_wsgi_application
from granian.utils.proxies import wrap_wsgi_with_proxy_headers

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "instamsg.settings")
django_application = get_wsgi_application()

from django.conf import settings  # noqa: E402  (readable only now)

from crypto import startup  # noqa: E402

startup.begin("web")


def end_with_parent() -> None:
    """Stop this server process when the one that started it is gone.

    The port is shared (SO_REUSEPORT): orphans of a killed server would go on answering beside
    the next one, with old code and an old secret.
    """
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


import_module(settings.ROOT_URLCONF)
# What is loaded by now stays. To look through it for garbage, again and again, takes a tenth of a
# second each time, for which no request is answered.
gc.collect()
gc.freeze()

threading.Thread(target=end_with_parent, daemon=True, name="end-with-parent").start()

application = (
    wrap_wsgi_with_proxy_headers(django_application, trusted_hosts=settings.TRUSTED_PROXIES)
    if settings.TRUSTED_PROXIES
    else django_application
)
