"""Who may look, and how often anybody may come: logins and rate limits.

Must not know what the pages show.
"""
