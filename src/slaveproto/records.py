"""`record`, a decorator for small classes of values that makes the start of a slave cheaper than `attrs.frozen` does.

attrs writes and compiles methods for each class, which is most of what the start of a slave costs. Only `__init__` has
to differ from class to class; the other methods are here, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

__all__ = ["record"]

C = TypeVar("C", bound=type)


def _record(cls: C) -> C:
    """Make a frozen attrs class. Two of its objects are equal if they are of the same class and all fields are."""
    for name, method in _METHODS.items():
        setattr(cls, name, method)
    # attrs keeps the methods that a class has already.
    return attrs.frozen(cls)


if TYPE_CHECKING:
    # Indistinguishable for type checkers and users; only faster.
    from attrs import frozen as record
else:
    record = _record


def _values(it: Any) -> tuple[object, ...]:
    return tuple([getattr(it, field.name) for field in it.__attrs_attrs__ if field.eq])


def _is_equal(self: Any, other: object) -> Any:
    return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented


def _hash_of(self: Any) -> int:
    return hash((self.__class__, _values(self)))


def _text_of(self: Any) -> str:
    fields = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in self.__attrs_attrs__ if field.repr)
    return f"{self.__class__.__name__}({fields})"


_METHODS: Final = {"__eq__": _is_equal, "__hash__": _hash_of, "__repr__": _text_of}
