from datetime import timedelta

from django import forms
from django.contrib.auth.forms import UserCreationForm

from . import api_keys
from .api_keys import FOR_PASSWORD, LIFETIME
from .models import Account, ApiKey, Role, Scope, User


class InvitationForm(forms.Form):
    role = forms.ChoiceField(choices=Role, initial=Role.MEMBER)


class ApiKeyForm(forms.Form):
    submission = forms.UUIDField(required=False, widget=forms.HiddenInput)
    name = forms.CharField(
        max_length=100,
        label="What uses it",
        help_text="Such as the name of your CRM.",
        error_messages={"required": "Write what will use the key."},
    )
    scopes = forms.MultipleChoiceField(
        choices=Scope,
        initial=list(FOR_PASSWORD),
        widget=forms.CheckboxSelectMultiple,
        label="What it may do",
        error_messages={"required": "Tick at least one thing it may do."},
    )
    reach = forms.ChoiceField(
        choices=[
            ("all", "All my accounts, also later ones"),
            ("chosen", "Only those ticked below"),
        ],
        initial="all",
        widget=forms.RadioSelect,
        label="Which accounts it reaches",
        error_messages={"required": "Choose all of your accounts, or those you tick."},
    )
    accounts = forms.ModelMultipleChoiceField(
        Account.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label="The accounts",
    )
    days = forms.TypedChoiceField(
        choices=[(7, "7 days"), (30, "30 days"), (90, "90 days"), (365, "a year")],
        coerce=int,
        initial=LIFETIME.days,
        label="It works for",
        error_messages={"required": "Choose how long it works."},
    )

    def __init__(self, user, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.user = user
        self.fields["accounts"].queryset = Account.objects.for_user(user)

    def clean(self):
        chosen = self.cleaned_data.get("accounts")
        if self.cleaned_data.get("reach") == "chosen" and not chosen and not self.errors:
            self.add_error("accounts", "Tick at least one, or let it reach all.")
        if self.cleaned_data.get("reach") == "all" and chosen:
            text = "You ticked accounts below. Choose “Only those ticked below”, or untick them."
            self.add_error("reach", text)
        return self.cleaned_data

    def make(self) -> tuple[ApiKey, str]:
        data = self.cleaned_data
        return api_keys.make(
            self.user,
            data["name"],
            scopes=data["scopes"],
            accounts=data["accounts"] if data["reach"] == "chosen" else None,
            lifetime=timedelta(days=data["days"]),
            submission=data["submission"],
        )


class NewColleagueForm(UserCreationForm):
    class Meta(UserCreationForm.Meta):
        model = User
        fields = ("username", "email")


class DeleteAccountForm(forms.Form):
    """The user name typed once more: nobody deletes years of letters by a slip of the finger."""

    username = forms.CharField(max_length=255, label="User name of the account")

    def __init__(self, account, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.account = account
        widget = self.fields["username"].widget
        widget.attrs |= {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}

    def clean_username(self):
        typed = self.cleaned_data["username"].removeprefix("@").lower()
        if typed != self.account.username.lower():
            raise forms.ValidationError(
                f"That is not @{self.account.username}. Nothing was deleted."
            )
        return typed
