from django.contrib import admin
from django.utils.text import Truncator

from .models import (
    Attachment,
    Conversation,
    CrmEndpoint,
    Delivery,
    DeliveryAttempt,
    FileToDelete,
    HistorySync,
    InboundEvent,
    Message,
    MissingMessage,
    Rule,
    RuleSettings,
    SenderAction,
    SendingPace,
    Sighting,
    Tally,
    WebhookEvent,
)
from .rule_forms import RuleForm, RuleSettingsForm


class ReadOnlyAdmin(admin.ModelAdmin):
    """What Instagram and the team wrote is looked at here, not changed.

    Nor deleted: files and ledger would keep what the row had.
    """

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


class InboundEventInline(admin.TabularInline):
    model = InboundEvent
    fields = readonly_fields = ["position", "kind", "account", "state", "reason", "attempts"]
    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request, obj):
        return False


@admin.register(WebhookEvent)
class WebhookEventAdmin(ReadOnlyAdmin):
    list_display = ["id", "received_at", "state", "kinds", "attempts"]
    list_filter = ["state", "received_at"]
    search_fields = ["=id"]
    date_hierarchy = "received_at"
    fields = ["received_at", "state", "attempts", "due_at", "body_text"]
    inlines = [InboundEventInline]

    def get_queryset(self, request):
        # A body may be 16 MiB; a list of a hundred needs none of them.
        return super().get_queryset(request).defer("body").prefetch_related("events")

    @admin.display(description="events")
    def kinds(self, webhook):
        found = {event.reason or event.kind for event in webhook.events.all()}
        return Truncator(", ".join(sorted(found))).chars(120)

    @admin.display(description="body")
    def body_text(self, webhook):
        return Truncator(bytes(webhook.body).decode("utf-8", "backslashreplace")).chars(20_000)


@admin.register(InboundEvent)
class InboundEventAdmin(ReadOnlyAdmin):
    list_display = ["id", "webhook", "kind", "account", "igsid", "state", "reason", "attempts"]
    list_filter = ["state", "kind", "account"]
    list_select_related = ["account"]
    search_fields = ["=id", "=igsid", "=instagram_account_id"]
    fields = [
        "webhook", "position", "kind", "account", "instagram_account_id", "igsid", "state",
        "reason", "attempts", "due_at",
    ]  # fmt: skip

    def get_queryset(self, request):
        return super().get_queryset(request).defer("webhook__body")


@admin.register(MissingMessage)
class MissingMessageAdmin(ReadOnlyAdmin):
    list_display = ["id", "account", "mid", "due_at", "attempts"]
    list_filter = ["account"]
    list_select_related = ["account"]
    search_fields = ["=id", "=mid"]


@admin.register(HistorySync)
class HistorySyncAdmin(ReadOnlyAdmin):
    list_display = [
        "id", "account", "reason", "state", "started_at", "finished_at", "conversations_seen",
        "messages_seen", "messages_new",
    ]  # fmt: skip
    list_filter = ["state", "reason", "account"]
    list_select_related = ["account"]
    search_fields = ["=id", "account__username"]


@admin.register(FileToDelete)
class FileToDeleteAdmin(ReadOnlyAdmin):
    list_display = ["name", "due_at", "attempts"]
    list_filter = ["due_at"]
    search_fields = ["name"]


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin):
    list_display = ["title", "account", "igsid", "last_message_at", "last_inbound_at"]
    list_filter = ["automation", "account"]
    list_select_related = ["account"]
    search_fields = ["=igsid", "username", "name", "account__username"]
    date_hierarchy = "last_message_at"


class AttachmentInline(admin.TabularInline):
    model = Attachment
    fields = readonly_fields = ["public_id", "kind", "state", "content_type", "error"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request, obj):
        return False


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    list_display = ["public_id", "account", "conversation", "direction", "status", "timestamp"]
    list_filter = ["status", "direction", "is_from_here", "account"]
    list_select_related = ["account", "conversation"]
    search_fields = ["=public_id", "text"]
    date_hierarchy = "timestamp"
    inlines = [AttachmentInline]


@admin.register(Attachment)
class AttachmentAdmin(ReadOnlyAdmin):
    list_display = ["public_id", "kind", "state", "content_type", "message", "attempts"]
    list_filter = ["state", "kind", "content_type"]
    list_select_related = ["message"]
    search_fields = ["=public_id", "=message__public_id"]


@admin.register(SendingPace)
class SendingPaceAdmin(ReadOnlyAdmin):
    list_display = ["account", "paused_until", "next_at", "used", "told_at"]
    list_filter = ["paused_until"]
    list_select_related = ["account"]
    search_fields = ["=account__id", "account__username"]


@admin.register(SenderAction)
class SenderActionAdmin(ReadOnlyAdmin):
    list_display = ["kind", "conversation", "message", "created_at", "due_at", "attempts", "error"]
    list_filter = ["kind"]
    list_select_related = ["conversation", "message"]
    search_fields = ["=message__public_id"]
    date_hierarchy = "created_at"


@admin.register(Rule)
class RuleAdmin(admin.ModelAdmin):
    form = RuleForm
    fields = ["account", "position", *RuleForm.Meta.fields]
    list_display = ["name", "account", "kind", "position", "is_enabled", "starts_on", "ends_on"]
    list_filter = ["is_enabled", "kind", "account"]
    list_select_related = ["account"]
    ordering = ["account", "position", "pk"]
    search_fields = ["name", "account__username", "=account__id"]
    autocomplete_fields = ["account"]


@admin.register(RuleSettings)
class RuleSettingsAdmin(admin.ModelAdmin):
    form = RuleSettingsForm
    fields = ["account", *RuleSettingsForm.Meta.fields]
    list_display = ["account", "time_zone", "silence_hours"]
    list_filter = ["time_zone"]
    list_select_related = ["account"]
    search_fields = ["account__username", "=account__id"]
    autocomplete_fields = ["account"]


@admin.register(CrmEndpoint)
class CrmEndpointAdmin(ReadOnlyAdmin):
    list_display = [
        "public_id", "account", "host", "is_enabled", "failures", "failing_since", "delivered_at",
    ]  # fmt: skip
    list_filter = ["is_enabled", "account"]
    list_select_related = ["account"]
    search_fields = ["=public_id", "account__username"]
    fields = [
        "public_id", "account", "host", "events", "is_enabled", "problem", "failing_since",
        "failures", "delivered_at", "switched_off_at", "previous_until", "paused_until",
        "leased_until", "created_at", "deleted_at",
    ]  # fmt: skip


class DeliveryAttemptInline(admin.TabularInline):
    model = DeliveryAttempt
    fields = readonly_fields = ["started_at", "milliseconds", "status", "error", "answer"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request, obj):
        return False


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ["public_id", "endpoint", "type", "state", "attempts", "due_at", "created_at"]
    list_filter = ["state", "type"]
    list_select_related = ["endpoint"]
    search_fields = ["=public_id", "=endpoint__public_id", "=message__public_id"]
    date_hierarchy = "created_at"
    fields = [
        "public_id", "endpoint", "type", "conversation", "message", "state", "attempts",
        "is_out_of_order", "due_at", "created_at", "settled_at", "text",
    ]  # fmt: skip
    inlines = [DeliveryAttemptInline]

    def get_queryset(self, request):
        return super().get_queryset(request).defer("body")


@admin.register(DeliveryAttempt)
class DeliveryAttemptAdmin(ReadOnlyAdmin):
    list_display = ["id", "delivery", "started_at", "milliseconds", "status", "error"]
    list_filter = ["status", "started_at"]
    list_select_related = ["delivery"]
    search_fields = ["=delivery__public_id"]
    # The address may hold a key of the CRM's.
    exclude = ["url"]

    def get_queryset(self, request):
        return super().get_queryset(request).defer("delivery__body")


@admin.register(Sighting)
class SightingAdmin(ReadOnlyAdmin):
    list_display = ["kind", "subject", "at"]
    list_filter = ["kind"]
    search_fields = ["=subject"]


@admin.register(Tally)
class TallyAdmin(ReadOnlyAdmin):
    list_display = ["kind", "outcome", "count"]
    list_filter = ["kind"]
    search_fields = ["=outcome"]
