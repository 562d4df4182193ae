"""What handlers hold: `request.koala`, its sessions without a request, the checks of arguments, the event catalog.

Must not know requests, responses or delivery.
"""
