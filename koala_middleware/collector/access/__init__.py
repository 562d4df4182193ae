"""Who may come, and how often: logins, names of hosts, trusted proxies, rate limits.

Must not know what the pages show.
"""
