"""Conversions for types of libraries that an app may not have, recognized by name and never imported.

Types are named by top-level package and class, since libraries move their classes between modules.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from itertools import islice
from types import MappingProxyType
from typing import Any

REFUSED = object()  # returned by a conversion if only the name of the type can be sent

_ITEMS = 1_001  # one more than are kept, so that the cleaner sees that some are missing
_CELLS = 10_000  # of a data frame; a larger one is not converted


def conversion(kind: type) -> Callable[[Any], object] | None:
    """How to convert instances of this type; None if it is not a known one. A conversion may return `REFUSED`."""
    return _BY_NAME.get(f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}")


def _refuse(_: object) -> object:
    return REFUSED


def _pydantic_fields(value: Any) -> object:
    """As the model dumps itself: without excluded fields, a SecretStr as an object."""
    return value.model_dump(warnings=False) if hasattr(value, "model_dump") else value.dict()


def _sqlmodel_fields(value: Any) -> object:
    """After a commit a table's model is empty until it is loaded again: then its primary key."""
    fields: object = _pydantic_fields(value)
    if fields or (state := value.__dict__.get("_sa_instance_state")) is None:
        return fields
    key = state.key[1] if state.key else ()
    return REFUSED if not key else key[0] if len(key) == 1 else key


def _numpy_scalar(value: Any) -> object:
    if value.dtype.kind == "M":  # datetime64: `item()` of a nanosecond time would be a bare number
        return None if value != value else str(value)  # noqa: PLR0124  (NaT)
    if value.dtype.kind == "m":
        return None if value != value else value.astype("timedelta64[us]").item()  # noqa: PLR0124
    if value.dtype.kind == "f":  # also float128, whose `item()` is itself
        return float(value)
    return value.item()


def _numpy_array(value: Any) -> object:
    return list(islice(value, _ITEMS)) if value.ndim else value[()]


def _data_frame(value: Any) -> object:
    """A list of rows, each a mapping by column."""
    return value.to_dict("records") if value.size <= _CELLS else REFUSED


def _first_values(value: Any) -> object:
    return value[:_ITEMS].tolist()


def _iso_time(value: Any) -> object:
    text = value.isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text


def _headers(value: Any) -> object:
    """Header names to values; to a list for a header that was sent several times."""
    found: dict[str, object] = {}
    for name, text in islice(value.items(), _ITEMS):
        earlier = found.get(name)
        found[name] = (
            text if earlier is None else [*(earlier if isinstance(earlier, list) else [earlier]), text]
        )
    return found


def _local_object(value: Any) -> object:
    """What a LocalProxy stands for, if finding it runs no code of the app: that might open a connection."""
    source = object.__getattribute__(value, "_LocalProxy__wrapped")
    if isinstance(source, ContextVar):
        return value._get_current_object()
    if getattr(source, "__module__", "").partition(".")[0] == "flask_login":
        return getattr(sys.modules["flask"].g, "_login_user", REFUSED)  # the user, if it was loaded already
    return REFUSED


def _lazy_object(value: Any) -> object:
    """The object inside a lazy one, if it was evaluated already: request.user must not cause a query."""
    inner = value.__dict__.get("_wrapped")
    return REFUSED if inner is None or type(inner) is object else inner  # Django's mark for "not yet"


def _fetched_rows(value: Any) -> object:
    """The rows of a QuerySet, if the app has fetched them already."""
    rows = value.__dict__.get("_result_cache")
    return REFUSED if rows is None else rows[:_ITEMS]


def _named(names: Iterable[str], convert: Callable[[Any], object]) -> dict[str, Callable[[Any], object]]:
    return dict.fromkeys(names, convert)


_BY_NAME: Mapping[str, Callable[[Any], object]] = MappingProxyType(
    {
        # Models
        "pydantic.BaseModel": _pydantic_fields,
        "sqlmodel.SQLModel": _sqlmodel_fields,
        "django.Model": lambda model: model.pk,
        # Numbers and tables
        "numpy.generic": _numpy_scalar,
        "numpy.ndarray": _numpy_array,
        "pandas.DataFrame": _data_frame,
        "pandas.Series": _first_values,
        "pandas.Index": _first_values,
        "pandas.NAType": lambda _: None,
        # Rows
        "sqlite3.Row": lambda row: dict(zip(row.keys(), row, strict=True)),
        "sqlalchemy.Row": lambda row: row._mapping,
        "asyncpg.Record": lambda row: dict(row.items()),
        # Headers, which iterate over pairs
        **_named(("werkzeug.Headers", "email.Message"), _headers),
        # Objects that stand for others
        "werkzeug.LocalProxy": _local_object,
        "django.LazyObject": _lazy_object,
        # Collections that may query the database
        "django.QuerySet": _fetched_rows,
        "django.Page": lambda page: page.__dict__["object_list"],
        "sqlalchemy._AssociationCollection": _refuse,
        # Values that are texts, whose str() does nothing else
        **_named(
            (
                *("django.Promise", "flask_babel.LazyString", "flask_babelex.LazyString", "babel.LazyProxy"),
                *("pydantic._BaseUrl", "pydantic._BaseMultiHostUrl", "pydantic.NameEmail"),
                *("pydantic_core.Url", "pydantic_core.MultiHostUrl"),
                *("starlette.URL", "yarl.URL", "httpx.URL", "furl.furl"),
                *("ulid.ULID", "uuid_utils.UUID", "bson.ObjectId", "babel.Locale", "zoneinfo.ZoneInfo"),
                *("pandas.Period", "packaging.Version", "phonenumbers.PhoneNumber", "netaddr.IPAddress"),
            ),
            str,
        ),
        "sqlalchemy.URL": lambda url: url.render_as_string(hide_password=True),
        "arrow.Arrow": _iso_time,
        "whenever.Instant": str,
    }
)
