from django import forms
from django.contrib.auth.forms import UserCreationForm

from .models import Role, User


class InvitationForm(forms.Form):
    role = forms.ChoiceField(choices=Role, initial=Role.MEMBER)


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
