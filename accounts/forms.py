from django import forms
from django.contrib.auth.forms import UserCreationForm

from .models import Role, User


class InvitationForm(forms.Form):
    role = forms.ChoiceField(choices=Role, initial=Role.MEMBER)


class NewColleagueForm(UserCreationForm):
    class Meta(UserCreationForm.Meta):
        model = User
        fields = ("username", "email")
