"""The least that Django can do with a webhook: check its HMAC, one durable insert, 200.

And with what a program sends: look its key up, one durable insert, 202. The yardsticks of `accept`
and `api`: the same server, database and pragmas as the site, and nothing else.
"""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.benchmarks.bare_settings")

import hashlib
import hmac
import json

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpResponse, HttpResponseForbidden, JsonResponse
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


@csrf_exempt
def send(request):
    key = request.headers.get("Authorization", "").removeprefix("Bearer ")
    with connection.cursor() as cursor:
        digest = hashlib.sha256(key.encode()).hexdigest()
        cursor.execute("SELECT id FROM bare_keys WHERE digest = %s", [digest])
        if cursor.fetchone() is None:
            return HttpResponse(status=401)
        text = json.loads(request.body)["message"]
        cursor.execute("INSERT INTO bare (body) VALUES (%s)", [text.encode()])
    return JsonResponse({"status": "pending"}, status=202)


urlpatterns = [
    path("api/v1/messages/send", send),
    path("webhooks/instagram", webhook),
    path("livez", lambda request: HttpResponse()),
]
application = get_wsgi_application()
