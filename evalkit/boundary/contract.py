"""Default attributes of a base class, which a dataclass that inherits them may redeclare without a default."""

from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class _Default(Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value

    def __get__(self, instance: Any, owner: type) -> T:
        # A dataclass would take an inherited class attribute as the default of its own field: hide it.
        if instance is None:
            raise AttributeError
        return self.value


def default(value: T) -> T:
    """Return a descriptor that gives instances `value` until they set another; the class itself lacks the attribute."""
    return cast(T, _Default(value))
