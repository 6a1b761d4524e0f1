from django.contrib import admin
from django.http import HttpResponse
from django.urls import include, path


def livez(request):
    """This process answers; nothing else is looked at."""
    return HttpResponse("ok", content_type="text/plain")


urlpatterns = [
    path("", include("messaging.urls")),
    path("", include("accounts.urls")),
    path("admin/", admin.site.urls),
    path("livez", livez),
]
