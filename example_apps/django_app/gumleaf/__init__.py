"""Gumleaf on Django: a small site that tells Koala what its visitors do. What to copy is in views.py."""
