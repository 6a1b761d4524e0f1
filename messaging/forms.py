from django import forms


class ReplyForm(forms.Form):
    text = forms.CharField(strip=False, max_length=5000, widget=forms.Textarea)
    submission = forms.UUIDField(required=False, widget=forms.HiddenInput)
