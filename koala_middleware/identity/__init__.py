"""Who is this visitor: the cookie, its domain and policy, and what the visitor consents to.

Must not know a framework, what handlers record, or how it is delivered.
"""
