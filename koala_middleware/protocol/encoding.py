"""Compact JSON of plain values. Must not know which values are plain: `payload.values` makes them so."""

from __future__ import annotations

from collections.abc import Callable
from json import encoder
from json.encoder import JSONEncoder


def _writer() -> Callable[[object], str]:
    """What writes compact JSON. An encoder makes its writer in C anew for each value; made once, as here where it
    is to be had, it takes half the time: worth a tenth of an entry."""
    plainly = JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
    try:
        write = encoder.c_make_encoder(  # type: ignore[attr-defined]  # undocumented: any Python may lack it
            None, plainly.default, encoder.encode_basestring, None, ":", ",", False, False, False
        )
        "".join(write({"a": ["ä", 1, 2.5, None]}, 0))
    except (AttributeError, TypeError):
        return plainly.encode
    return lambda value: "".join(write(value, 0))


_encode = _writer()


def json_text(value: object) -> str:
    """The value in compact JSON. Raises what it may where the value is not plain."""
    return _encode(value)


def json_bytes(value: object) -> bytes:
    """The same in UTF-8."""
    return _encode(value).encode()
