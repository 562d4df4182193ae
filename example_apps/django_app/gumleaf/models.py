"""Members, who log in with their email and have a plan."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models


class Plan(models.TextChoices):
    FREE = "free"
    PRO = "pro"
    TEAM = "team"


class Member(AbstractBaseUser):
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=100)
    plan = models.CharField(max_length=8, choices=Plan.choices, default=Plan.FREE)

    objects = BaseUserManager["Member"]()

    USERNAME_FIELD = "email"
