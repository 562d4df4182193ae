"""The JSON object in a request's body. Must not know what it means."""

from __future__ import annotations

import re
from typing import Any

import orjson

from koala_middleware.collector.validation.refusal import RequestRefused
from koala_middleware.protocol.limits import BODY_DEPTH

# Either JSON in which surrogates come in pairs, or an escape that is half a pair.
_SURROGATE = rb"\\u[dD][89a-fA-F][\da-fA-F]{2}"
_PAIR = rb"\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}"
_WHOLE_OR_HALF = re.compile(rb"((?:[^\\]++|\\[^u]|(?!%b)\\u|%b)++)|%b" % (_SURROGATE, _PAIR, _SURROGATE))
# Either a string, or an integer of so many digits that it is beyond every float.
_STRING_OR_HUGE = re.compile(rb'("(?:[^"\\]++|\\.)*+")|(?<![\d.eE+-])(-?\d{309,})(?![\d.eE])', re.DOTALL)


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in a body, nested BODY_DEPTH levels at most. Raises RequestRefused."""
    try:
        body = parse_json(raw)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise RequestRefused(f"The body is not JSON: {error.msg} ({where})", "not_json") from None
    if not isinstance(body, dict):
        raise RequestRefused(f"The body must be a JSON object, not {type_name(body)}", "not_an_object")
    _check_depth(body)
    return body


def parse_json(raw: bytes) -> Any:
    """The value that JSON stands for. Raises orjson.JSONDecodeError.

    A browser writes half a surrogate pair where a text was cut within an emoji; it is replaced by U+FFFD. An integer
    that no float holds becomes its digits as text.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        whole = _WHOLE_OR_HALF.sub(lambda found: found[1] or rb"\ufffd", raw)
        return orjson.loads(_STRING_OR_HUGE.sub(lambda found: found[1] or b'"%b"' % found[2], whole))


def _check_depth(body: dict[str, Any]) -> None:
    level: list[Any] = [body]
    for _ in range(BODY_DEPTH):
        level = [child for node in level for child in _children(node) if child.__class__ in (dict, list)]
        if not level:
            return
    raise RequestRefused(f"The body is nested deeper than {BODY_DEPTH} levels", "too_deep")


def _children(node: Any) -> Any:
    return node.values() if node.__class__ is dict else node


def type_name(value: Any) -> str:
    """A value's type in JSON's terms."""
    if value is None:
        return "null"
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "text",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "something else")
