"""Django: `MIDDLEWARE = ["koala_middleware.django.KoalaMiddleware", …]`, settings named `KOALA_…`.

Works under WSGI and ASGI, with sync and async views.
"""

from koala_middleware.django.middleware import KoalaMiddleware, KoalaRequest

__all__ = ["KoalaMiddleware", "KoalaRequest"]
