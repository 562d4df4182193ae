"""Exports to files, and imports from them.

Must not know the pages.
"""
