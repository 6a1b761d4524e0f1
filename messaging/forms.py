from urllib.parse import urlencode

from django import forms

from . import endpoints
from .models import TEST, Delivery, EventType


class SeveralFilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class SeveralFilesField(forms.FileField):
    """A list of uploaded files, empty when none was chosen."""

    widget = SeveralFilesInput

    def clean(self, data, initial=None):
        return [super(SeveralFilesField, self).clean(file, initial) for file in data or []]


class ReplyForm(forms.Form):
    text = forms.CharField(strip=False, required=False, max_length=5000, widget=forms.Textarea)
    files = SeveralFilesField(required=False, allow_empty_file=True)
    quick_replies = forms.CharField(required=False, max_length=1000)
    submission = forms.UUIDField(required=False, widget=forms.HiddenInput)

    def clean_quick_replies(self):
        """One to a line."""
        titles = (line.strip() for line in self.cleaned_data["quick_replies"].splitlines())
        return [{"title": title} for title in titles if title]


class EndpointForm(forms.Form):
    """Where to post, and what of."""

    url = forms.CharField(
        max_length=endpoints.LONGEST_URL,
        label="Address of the webhook in the CRM",
        help_text="It begins with https:// and takes POST requests.",
        widget=forms.TextInput(
            attrs={"inputmode": "url", "autocomplete": "off", "spellcheck": "false"}
        ),
    )
    events = forms.MultipleChoiceField(
        choices=[(kind.value, kind.label) for kind in EventType],
        widget=forms.CheckboxSelectMultiple,
        label="Tell it when",
        initial=EventType.values,
        error_messages={"required": "Choose at least one."},
    )

    @staticmethod
    def of(endpoint):
        """The initial values for one that exists."""
        return {"url": endpoint.url, "events": endpoint.events or EventType.values}

    def clean_url(self):
        try:
            return endpoints.checked_url(self.cleaned_data["url"])
        except endpoints.EndpointRefused as exc:
            raise forms.ValidationError(str(exc)) from None


class LogForm(forms.Form):
    """Which deliveries of an endpoint the log shows; what makes no sense is overlooked."""

    state = forms.ChoiceField(
        choices=[("", "Any"), *Delivery.State.choices], required=False, label="Outcome"
    )
    type = forms.ChoiceField(
        choices=[("", "Any"), *((kind, kind) for kind in [*EventType.values, TEST])],
        required=False,
        label="Event",
    )
    before = forms.IntegerField(required=False, min_value=0, max_value=2**62)

    def narrow(self, deliveries):
        self.is_valid()
        chosen = self.cleaned_data
        for name in ("state", "type"):
            if chosen.get(name):
                deliveries = deliveries.filter(**{name: chosen[name]})
        if chosen.get("before"):
            deliveries = deliveries.filter(pk__lt=chosen["before"])
        return deliveries

    def older(self, last):
        """The query of the page after the one that ends with `last`."""
        chosen = {name: self.cleaned_data.get(name) for name in ("state", "type")}
        return urlencode(
            {name: value for name, value in chosen.items() if value} | {"before": last}
        )


class ReplayForm(forms.Form):
    """Which deliveries are posted again."""

    WHICH = [("failed", "Those that were given up"), ("all", "All of them")]
    moment = {"type": "datetime-local"}
    which = forms.ChoiceField(choices=WHICH, label="Which")
    since = forms.DateTimeField(
        required=False, label="From", widget=forms.DateTimeInput(attrs=moment)
    )
    until = forms.DateTimeField(
        required=False, label="To", widget=forms.DateTimeInput(attrs=moment)
    )

    def clean(self):
        chosen = super().clean()
        since, until = chosen.get("since"), chosen.get("until")
        if chosen.get("which") == "all" and not self.errors and not (since and until):
            raise forms.ValidationError("Say from when to when: it may be many.")
        if since and until and until <= since:
            raise forms.ValidationError("The time ends before it begins.")
        return chosen

    def narrow(self, deliveries):
        chosen = self.cleaned_data
        if chosen["which"] == "failed":
            deliveries = deliveries.filter(state=Delivery.State.FAILED)
        if chosen["since"]:
            deliveries = deliveries.filter(created_at__gte=chosen["since"])
        if chosen["until"]:
            deliveries = deliveries.filter(created_at__lte=chosen["until"])
        return deliveries
