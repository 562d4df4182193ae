"""What is read from a request: its headers, page, address, signed-in user and identity links.

Must not know frameworks, cookies that are set, or what handlers record.
"""
