"""The event catalog: events declared once as classes, and checks of recorded events against them.

Must not know contexts or settings: the caller decides what follows from a fault. No fault shows a value.
"""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar, Protocol, TypeVar, get_type_hints

Class = TypeVar("Class", bound=type)
Properties = Mapping[str, Any]


class DataclassEvent(Protocol):
    """An instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class ModelEvent(Protocol):
    """An instance of a pydantic model."""

    def model_dump(self) -> dict[str, Any]: ...


EventObject = DataclassEvent | ModelEvent


class ReportFault(Protocol):
    """Called with the difference from a declaration. `counted=False`: it only matters in development."""

    def __call__(self, fault: str, *, counted: bool = True) -> None: ...


def koala_event(name: str) -> Callable[[Class], Class]:
    """Declare an event: `koala.track(SignedUp(plan="pro"))` then sends it under this name.

    ```python
    @koala_event("Signed Up")
    @dataclass
    class SignedUp:
        plan: str
    ```
    Events are checked whether they are given as instances or by a declared name. With `strict_events=True` a
    fault raises at the call, and so does an undeclared name, once any event is declared. Otherwise the event is
    sent, and the fault is counted and logged once.

    Raises:
        TypeError: the class is neither a dataclass nor a pydantic model.
        ValueError: the name is empty, or another class declares it.
        ImportError: a dataclass is declared and the extra `events` is not installed.
    """
    if not isinstance(name, str) or not name:
        raise ValueError('koala_event() takes the event\'s name, such as @koala_event("Signed Up")')

    def declare(event: Class) -> Class:
        _add(_declaration(name, event))
        return event

    return declare


class Declaration(ABC):
    """One event of the catalog."""

    def __init__(self, name: str, event: type) -> None:
        self.name = name
        self.event = event

    @abstractmethod
    def read(self, event: Any) -> tuple[dict[str, Any], str]:
        """An instance's properties, and their fault; empty for none."""

    @abstractmethod
    def fault(self, properties: Properties) -> str:
        """What is wrong with properties that are given with the event's name; empty for nothing."""


class _Dataclass(Declaration):
    def __init__(self, name: str, event: type) -> None:
        super().__init__(name, event)
        self._fields = dataclasses.fields(event)
        self._has_type = _type_check()

    def read(self, event: Any) -> tuple[dict[str, Any], str]:
        properties = {field.name: getattr(event, field.name) for field in self._fields}
        return properties, self._type_fault(properties)

    def fault(self, properties: Properties) -> str:
        known = {field.name for field in self._fields}
        missing = [field.name for field in self._fields if _required(field) and field.name not in properties]
        if missing:
            return f"lacks {', '.join(missing)}"
        if any(name not in known for name in properties):
            return f"has properties beside {', '.join(sorted(known))}"
        return self._type_fault(properties)

    def _type_fault(self, properties: Properties) -> str:
        for name, hint in self._hints.items():
            if name in properties and not self._has_type(value := properties[name], hint):
                return f"has a {type(value).__name__} as {name}, declared {inspect.formatannotation(hint)}"
        return ""

    @cached_property
    def _hints(self) -> Mapping[str, Any]:
        try:
            hints = get_type_hints(self.event)
        except NameError:
            return {}  # annotated with names that only type checkers import
        return {field.name: hints[field.name] for field in self._fields}


class _Model(Declaration):
    """pydantic checks a model when it is made; a wrong later change shows when it is dumped."""

    def read(self, event: Any) -> tuple[dict[str, Any], str]:
        try:
            return event.model_dump(by_alias=True, warnings="error"), ""
        except Exception:  # noqa: BLE001  (pydantic's errors repeat the values)
            properties = event.model_dump(by_alias=True, warnings=False)
            return properties, "was changed to a value that its model does not accept"

    def fault(self, properties: Properties) -> str:
        from pydantic import ValidationError  # noqa: PLC0415  (loaded: the event is one of its models)

        try:
            self.event.model_validate(dict(properties))  # type: ignore[attr-defined]  # a pydantic model
        except ValidationError as error:
            first = error.errors(include_input=False, include_context=False, include_url=False)[0]
            return f"has a wrong {'.'.join(map(str, first['loc'][:1])) or 'combination'} ({first['type']})"
        return ""


catalog: dict[str, Declaration] = {}
_by_class: dict[type, Declaration] = {}


def read_event(event: object, properties: object, report: ReportFault) -> tuple[str, dict[str, Any]]:
    """The name and properties of an event given as an instance. Reports its fault.

    Raises:
        TypeError: its class is not declared, or there are properties beside it.
    """
    declaration = _by_class.get(type(event))
    if declaration is None:
        raise TypeError(
            'track() takes a str, such as "Created Account", or an instance of a class declared with '
            f"@koala_event as event, not {type(event).__name__}"
        )
    if properties is not None:
        raise TypeError(f"track() takes no properties beside {type(event).__name__}, which holds its own")
    own_properties, fault = declaration.read(event)
    if fault:
        report(f'the event "{declaration.name}" {fault}')
    return declaration.name, own_properties


def check_event(name: str, properties: Properties | None, report: ReportFault) -> None:
    """Reports how an event given by its name differs from its declaration, or that it has none."""
    declaration = catalog.get(name)
    if declaration is None:
        # Not counted: a site may declare its events one by one, and a name may hold anything.
        report(f'no @koala_event declares the event "{name}"{_suggestion(name)}', counted=False)
    elif fault := declaration.fault(properties or {}):
        report(f'the event "{declaration.name}" {fault}')


def _declaration(name: str, event: type) -> Declaration:
    if dataclasses.is_dataclass(event):
        return _Dataclass(name, event)
    if hasattr(event, "model_dump") and hasattr(event, "model_validate"):
        return _Model(name, event)
    raise TypeError(
        f"koala_event() goes above @dataclass or a pydantic model; {event.__name__} is neither. "
        "Decorators apply from below: @koala_event comes first, @dataclass under it"
    )


def _add(declaration: Declaration) -> None:
    other = catalog.get(declaration.name)
    if other is not None and _qualified_name(other.event) != _qualified_name(declaration.event):
        raise ValueError(
            f'the event "{declaration.name}" is declared twice: by {_qualified_name(other.event)} '
            f"and {_qualified_name(declaration.event)}"
        )
    catalog[declaration.name] = _by_class[declaration.event] = declaration


def _qualified_name(event: type) -> str:
    return f"{event.__module__}.{event.__qualname__}"


def _suggestion(name: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415  (only for a fault)

    close = get_close_matches(name, catalog, n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def _required(field: dataclasses.Field[Any]) -> bool:
    return (
        field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    )


def _type_check() -> Callable[[object, Any], bool]:
    try:
        from typeguard import TypeCheckError, check_type  # noqa: PLC0415  (an extra)
    except ImportError:
        raise ImportError(
            "Events as dataclasses need typeguard: pip install 'koala-middleware[events]'"
        ) from None

    def has_type(value: object, hint: Any) -> bool:
        if hint.__class__ is type and isinstance(value, hint):
            return True
        try:
            check_type(value, hint)
        except TypeCheckError:
            return False
        return True

    return has_type
