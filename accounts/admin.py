from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from . import api_keys
from .models import (
    Account,
    ApiKey,
    ConnectAttempt,
    DeletionRequest,
    IdempotentRequest,
    Invitation,
    Membership,
    User,
)

admin.site.register(User, UserAdmin)


class StatusFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request, model_admin):
        return Account.Status.choices

    def queryset(self, request, queryset):
        return queryset.in_status(self.value()) if self.value() else None


class MembershipInline(admin.TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields = ["user"]


@admin.register(Account)
class AccountAdmin(admin.ModelAdmin):
    """Read-only but for its members: Instagram and the OAuth pages write the rest."""

    list_display = [
        "username", "id", "status_label", "days_left", "token_expires_at", "linked_at",
    ]  # fmt: skip
    list_filter = [StatusFilter, ("access_token", admin.EmptyFieldListFilter), "account_type"]
    search_fields = ["=id", "username", "name", "=instagram_account_id", "=app_scoped_id"]
    date_hierarchy = "linked_at"
    inlines = [MembershipInline]

    def get_readonly_fields(self, request, obj=None):
        stored = [f.name for f in Account._meta.fields if f.name != "access_token"]
        return ["status_label", "has_token", *stored]

    def get_fields(self, request, obj=None):
        return self.get_readonly_fields(request, obj)

    @admin.display(description="status")
    def status_label(self, account):
        return account.status.label

    @admin.display(description="days left", ordering="token_expires_at")
    def days_left(self, account):
        return account.days_left

    @admin.display(description="access token stored", boolean=True)
    def has_token(self, account):
        return account.access_token is not None

    def has_add_permission(self, request):
        return False

    def has_delete_permission(self, request, obj=None):
        return False  # Files and what Instagram sent would stay; the account's page deletes it.

    def save_model(self, request, obj, form, change):
        pass  # Only its members are edited; what was read a while ago must not be put back.


@admin.register(Membership)
class MembershipAdmin(admin.ModelAdmin):
    list_display = ["user", "account", "role", "created_at"]
    list_filter = ["role"]
    list_select_related = ["user", "account"]
    search_fields = ["user__username", "account__username", "=account__id"]
    autocomplete_fields = ["user", "account"]


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    """Made on its user's page, which shows the key once; here it is looked up and revoked."""

    exclude = ["digest"]
    list_display = ["name", "beginning", "user", "created_at", "expires_at", "last_used_at",
                    "revoked_at"]  # fmt: skip
    list_filter = [("revoked_at", admin.EmptyFieldListFilter), "is_limited"]
    list_select_related = ["user"]
    search_fields = ["name", "user__username", "=beginning"]
    date_hierarchy = "created_at"
    actions = ["revoke"]

    @admin.action(description="Revoke the chosen keys")
    def revoke(self, request, queryset):
        ended = sum(api_keys.revoke(key) for key in queryset)
        self.message_user(request, f"{ended} API key{'' if ended == 1 else 's'} revoked.")

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False  # Revoked, it stays as evidence.


@admin.register(IdempotentRequest)
class IdempotentRequestAdmin(admin.ModelAdmin):
    """What is answered to a program that sends the same again; kept for a day."""

    list_display = ["caller", "key", "status", "created_at"]
    list_filter = ["status"]
    search_fields = ["=caller", "=key"]
    date_hierarchy = "created_at"

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False  # The same request would then do its work twice.


@admin.register(DeletionRequest)
class DeletionRequestAdmin(admin.ModelAdmin):
    """What was asked to be deleted, and how far that is; kept as evidence."""

    list_display = [
        "id", "asked_by", "state", "requested_at", "finished_at",
        "accounts_deleted", "conversations", "messages", "files",
    ]  # fmt: skip
    list_filter = ["state", "asked_by"]
    search_fields = ["=id"]
    date_hierarchy = "requested_at"

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


class OneTimeAdmin(admin.ModelAdmin):
    """Made by the pages, once each; the secret itself is stored nowhere."""

    exclude = ["digest"]
    date_hierarchy = "created_at"

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False


@admin.register(Invitation)
class InvitationAdmin(OneTimeAdmin):
    list_display = ["account", "role", "invited_by", "created_at", "expires_at", "used_by"]
    list_filter = ["role", ("used_at", admin.EmptyFieldListFilter)]
    list_select_related = ["account", "invited_by", "used_by"]
    search_fields = ["account__username", "invited_by__username", "used_by__username"]


@admin.register(ConnectAttempt)
class ConnectAttemptAdmin(OneTimeAdmin):
    exclude = ["digest", "browser"]
    list_display = ["user", "account", "created_at", "expires_at", "used_at"]
    list_filter = [("used_at", admin.EmptyFieldListFilter)]
    list_select_related = ["user", "account"]
    search_fields = ["user__username", "account__username"]
