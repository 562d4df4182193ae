"""What handlers hold: `request.koala`, its sessions outside requests, checked arguments, the event catalog.

Must not know requests, responses or delivery.
"""
