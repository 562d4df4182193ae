"""Recognizes and masks secrets: by property name, by their look within texts, and card numbers.

Must not know calls or entries.
"""
