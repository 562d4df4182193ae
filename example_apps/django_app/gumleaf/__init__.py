"""Gumleaf on Django: a small site that records what its visitors do. Start with views.py."""
