"""Sign-up and the choice of a plan; Django brings the form for log-in."""

from __future__ import annotations

from django import forms
from django.contrib.auth.password_validation import validate_password

from gumleaf.models import Member, Plan


class SignUpForm(forms.Form):
    name = forms.CharField(max_length=100)
    email = forms.EmailField(max_length=254)
    password = forms.CharField(widget=forms.PasswordInput, validators=[validate_password])

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].lower()
        if Member.objects.filter(email=email).exists():
            raise forms.ValidationError("This email already has an account. Log in instead.")
        return email

    def save(self) -> Member:
        member = Member(name=self.cleaned_data["name"], email=self.cleaned_data["email"])
        member.set_password(self.cleaned_data["password"])
        member.save()
        return member


class PlanForm(forms.Form):
    plan = forms.ChoiceField(choices=Plan.choices)
