from django.contrib import admin
from django.urls import include, path

from . import health
from .api import api

urlpatterns = [
    path("api/v1/", api.urls),  # First: programs ask most, and each pattern before takes time.
    path("", include("messaging.urls")),
    path("", include("accounts.urls")),
    path("admin/", admin.site.urls),
    path("livez", health.livez),
    path("readyz", health.readyz),
    path("health", health.health),
    path("metrics", health.metrics),
]
