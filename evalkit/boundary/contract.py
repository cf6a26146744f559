"""Defaults of a contract: attributes that a class inherits, and that its dataclass may declare anew without one."""

from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class _Default(Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value

    def __get__(self, instance: Any, owner: type) -> T:
        # A dataclass takes a class attribute that it inherits for the default of its own field, so there is none.
        if instance is None:
            raise AttributeError
        return self.value


def default(value: T) -> T:
    """Return what an instance has as long as nothing else is set; its class has no such attribute."""
    return cast(T, _Default(value))
