"""Gumleaf's pages. What a view records with `request.koala` leaves after its response."""

from __future__ import annotations

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from gumleaf.forms import PlanForm, SignUpForm
from gumleaf.models import Member, Plan
from koala_middleware.django import KoalaRequest
from koala_middleware.snippet import snippet


def koala_script(_request: HttpRequest) -> dict[str, str]:
    """Optional: the browser script records page views. It shares the visitor's cookie with the views below."""
    return {"koala_script": snippet(settings.KOALA_PUBLIC_API_KEY, settings.KOALA_ENDPOINT)}


def landing(request: KoalaRequest) -> HttpResponse:
    return render(request, "gumleaf/landing.html")


def pricing(request: KoalaRequest) -> HttpResponse:
    request.koala.track("Viewed Pricing")
    return render(request, "gumleaf/pricing.html")


def signup(request: KoalaRequest) -> HttpResponse:
    form = SignUpForm(request.POST or None)
    if not form.is_valid():
        return render(request, "gumleaf/signup.html", {"form": form})
    member = form.save()
    auth.login(request, member)

    # From now on, everything that this browser did and does belongs to this person.
    request.koala.identify(member.email, {"name": member.name, "plan": member.plan})
    request.koala.track("Signed Up", {"plan": member.plan})
    return redirect("account")


def login(request: KoalaRequest) -> HttpResponse:
    form = AuthenticationForm(request, request.POST or None)
    if not form.is_valid():
        return render(request, "gumleaf/login.html", {"form": form})
    member = form.get_user()
    auth.login(request, member)

    # This may be another browser than at sign-up: identify makes both one person.
    request.koala.identify(member.email, {"name": member.name})
    request.koala.track("Logged In", {"method": "password"})
    return redirect("account")


@login_required
def account(request: KoalaRequest) -> HttpResponse:
    return render(request, "gumleaf/account.html", {"plans": Plan})


@require_POST
@login_required
def upgrade(request: KoalaRequest) -> HttpResponse:
    form = PlanForm(request.POST)
    if not form.is_valid():
        return HttpResponse("No such plan.", status=400)
    member = Member.objects.get(email=request.user.get_username())
    before, member.plan = member.plan, form.cleaned_data["plan"]
    member.save()

    request.koala.identify(member.email, {"plan": member.plan})
    request.koala.track("Changed Plan", {"from": before, "to": member.plan})
    return redirect("account")


@require_POST
def logout(request: KoalaRequest) -> HttpResponse:
    auth.logout(request)

    request.koala.track("Logged Out")
    request.koala.reset()  # the next person on this browser is a new visitor
    return redirect("landing")
