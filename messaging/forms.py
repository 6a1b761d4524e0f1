from django import forms


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
