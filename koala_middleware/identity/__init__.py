"""Who the visitor is: the cookie, its domain and policy, and the visitor's consent.

Must not know frameworks, what handlers record, or how it is delivered.
"""
