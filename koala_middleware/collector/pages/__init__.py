"""What people look at: views, templates, and the words they need.

Templates escape everything; nothing that arrived is ever markup. Must not know how things are stored.
"""
