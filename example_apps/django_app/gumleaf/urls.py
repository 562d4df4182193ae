"""Gumleaf's URLs."""

from django.urls import path

from gumleaf import views

urlpatterns = [
    path("", views.landing, name="landing"),
    path("pricing", views.pricing, name="pricing"),
    path("signup", views.signup, name="signup"),
    path("login", views.login, name="login"),
    path("account", views.account, name="account"),
    path("upgrade", views.upgrade, name="upgrade"),
    path("logout", views.logout, name="logout"),
]
