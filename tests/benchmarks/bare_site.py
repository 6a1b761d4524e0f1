"""The least that Django can do with a webhook: check its HMAC, one durable insert, 200.

The yardstick of `accept`: the same server, database and pragmas as the site, and nothing else.
"""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.benchmarks.bare_settings")

import hmac

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpResponse, HttpResponseForbidden
from django.urls import path
from django.views.decorators.csrf import csrf_exempt


@csrf_exempt
def webhook(request):
    key = settings.INSTAGRAM_APP_SECRETS[0].encode()
    expected = f"sha256={hmac.digest(key, request.body, 'sha256').hex()}"
    if not hmac.compare_digest(expected, request.headers.get("X-Hub-Signature-256", "")):
        return HttpResponseForbidden()
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO bare (body) VALUES (%s)", [request.body])
    return HttpResponse("EVENT_RECEIVED", content_type="text/plain")


urlpatterns = [
    path("webhooks/instagram", webhook),
    path("livez", lambda request: HttpResponse()),
]
application = get_wsgi_application()
