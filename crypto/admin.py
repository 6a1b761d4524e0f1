import csv
import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import IncorrectLookupParameters
from django.core.exceptions import BadRequest
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from . import heartbeat, verdict
from .census import still_unreadable
from .columns import Column, encrypted_columns
from .keyring import KeyRing, get_keyring
from .models import Census, Secret, SecurityEvent

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet calculate a cell. Whoever tries to log in chooses a name to be shown."""


class ReadOnlyAdmin(admin.ModelAdmin):
    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


@admin.register(Secret)
class SecretAdmin(ReadOnlyAdmin):
    """One page with all that is known of the secret. It changes nothing and needs no secret."""

    def get_urls(self):
        # Not the other pages of an admin: they would show the sentinel.
        page = self.admin_site.admin_view(require_safe(self.changelist_view))
        return [path("", page, name="crypto_secret_changelist")]

    def changelist_view(self, request, extra_context=None):
        ring, current, census = get_keyring(), Secret.objects.current(), Census.objects.first()
        kinds = [SecurityEvent.Kind.ROTATED, SecurityEvent.Kind.RESET]
        context = self.admin_site.each_context(request) | {
            "title": "Secret",
            "opts": self.opts,
            "found": verdict.look(),
            "looked_at": timezone.now(),
            "is_ephemeral": settings.SESSION_SECRET_IS_EPHEMERAL,
            "ring": ring,
            "held": [key.fingerprint for key in ring.keys],
            "current": current,
            "is_held": current is not None and current.is_held_by(ring),
            "census": census,
            "counted": sum(census.by_secret.values()) + census.unreadable if census else 0,
            "unreadable": unreadable_now(census, ring),
            "processes": heartbeat.living(),
            "this_process": {"host": socket.gethostname(), "pid": os.getpid()},
            "secrets": Secret.objects.all(),
            "events": SecurityEvent.objects.filter(kind__in=kinds)[:5],
        }
        return TemplateResponse(request, "admin/crypto/secret/change_list.html", context)


def unreadable_now(census: Census | None, ring: KeyRing) -> list[tuple[str, str | None]]:
    """Values that no key on `ring` opens now: their names, and their rows' pages in the admin.

    Looked for among those that the census named, and in the verdict's sample.
    """
    found = {(column, pk): name for column, pk, name in still_unreadable(census, ring)}
    for column in encrypted_columns():
        sample = [place for place, text in column.ends(verdict.SAMPLE) if not ring.opens(text)]
        found |= {(column, name.pk): str(name) for name in column.names(sample).values()}
    return [(name, _page(column, pk)) for (column, pk), name in found.items()]


def _page(column: Column, pk: str) -> str | None:
    options = column.model._meta
    try:
        return reverse(f"admin:{options.app_label}_{options.model_name}_change", args=[quote(pk)])
    except NoReverseMatch:
        return None


@admin.register(SecurityEvent)
class SecurityEventAdmin(ReadOnlyAdmin):
    """Read and exported here; written by what happens, and never changed."""

    list_display = ["at", "kind", "actor", "address", "subject"]
    list_filter = ["kind", "at"]
    search_fields = ["actor", "subject", "address"]
    date_hierarchy = "at"
    show_full_result_count = False  # Counting a long table is slower than reading a page of it.
    fields = ["at", "kind", "actor", "address", "subject", "details_text"]

    @admin.display(description="details")
    def details_text(self, event):
        return "\n".join(f"{name}: {_plain(value)}" for name, value in event.details.items())

    def get_urls(self):
        export = self.admin_site.admin_view(require_POST(self.export))
        return [path("export/", export, name="crypto_securityevent_export"), *super().get_urls()]

    def export(self, request):
        """All that the list shows with these filters, on however many pages, as CSV."""
        try:
            shown = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            raise BadRequest("There is no such filter.") from None
        now = timezone.now()
        events = shown.filter(at__lt=now)  # Not the export itself.
        SecurityEvent.objects.record(
            SecurityEvent.Kind.EXPORTED, rows=events.count(), filter=request.GET.urlencode()
        )
        return StreamingHttpResponse(
            csv_lines(events),
            content_type="text/csv; charset=utf-8",
            headers={
                "Content-Disposition": f'attachment; filename="security-events-{now:%Y-%m-%d}.csv"'
            },
        )


def csv_lines(events: QuerySet[SecurityEvent]) -> Iterator[str]:
    """A head and a line for each of `events`, read from the database as they are sent."""
    columns = ["at", "kind", "actor", "address", "subject", "details"]
    line = csv.writer(_Echo()).writerow
    yield line(columns)
    for at, *texts, details in events.values_list(*columns).iterator():
        yield line([at.astimezone(UTC).isoformat(), *map(_cell, texts), _plain(details)])


class _Echo:
    """A file for the csv module: what is written comes straight back."""

    def write(self, text: str) -> str:
        return text


def _cell(text: str | None) -> str:
    return f"'{text}" if text and text.startswith(FORMULA) else text or ""


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
