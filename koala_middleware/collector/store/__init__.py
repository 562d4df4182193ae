"""Where the collector keeps what it takes. `contract` says what a store must do; `sqlite` and `postgres` do it.

Must not know HTTP, nor decide who is who.
"""
