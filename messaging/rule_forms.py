"""Forms for rules: on the pages and in the admin, with the same checks."""

import zoneinfo

from django import forms

from .models import Rule, RuleSettings
from .models.rules import WEEK


class DaysField(forms.MultipleChoiceField):
    """Days of the week, stored as their numbers in one text."""

    widget = forms.CheckboxSelectMultiple

    def prepare_value(self, value):
        return list(value) if isinstance(value, str) else value

    def clean(self, value):
        return "".join(sorted(super().clean(value)))


def time_zones():
    return [(name, name.replace("_", " ")) for name in sorted(zoneinfo.available_timezones())]


class RuleForm(forms.ModelForm):
    class Meta:
        model = Rule
        fields = [
            "name", "kind", "words", "text", "cooldown_minutes", "starts_on", "ends_on",
            "is_enabled",
        ]  # fmt: skip
        widgets = {
            "words": forms.Textarea(attrs={"rows": 3, "dir": "auto"}),
            "text": forms.Textarea(attrs={"rows": 5, "dir": "auto"}),
            "starts_on": forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}),
            "ends_on": forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}),
        }


class RuleSettingsForm(forms.ModelForm):
    time_zone = forms.ChoiceField(choices=time_zones)
    days = DaysField(label="Open on", choices=[*zip("0123456", WEEK, strict=True)], required=False)

    class Meta:
        model = RuleSettings
        fields = ["disclosure", "silence_hours", "time_zone", "days", "opens_at", "closes_at"]
        widgets = {
            "disclosure": forms.Textarea(attrs={"rows": 2, "dir": "auto"}),
            "opens_at": forms.TimeInput(format="%H:%M", attrs={"type": "time"}),
            "closes_at": forms.TimeInput(format="%H:%M", attrs={"type": "time"}),
        }


class TryForm(forms.Form):
    """A message that has not come."""

    text = forms.CharField(
        label="What the customer writes",
        max_length=1000,
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 2, "dir": "auto"}),
        help_text="Empty: a picture or a heart.",
    )
    at = forms.DateTimeField(
        label="When",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text="Empty: now.",
    )
    is_first = forms.BooleanField(label="It is the customer's first message", required=False)
