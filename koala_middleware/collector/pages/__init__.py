"""What people look at: templates, and the few words templates need.

Templates escape everything; nothing that arrived is ever markup. Must not know how things are stored.
"""

from koala_middleware.collector.pages.rendering import STATIC, page, render

__all__ = ["STATIC", "page", "render"]
