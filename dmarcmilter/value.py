"""Value: the base class of every immutable value of this program, from a parsed header field to the configuration.

A value is a msgspec structure: complete when it is made, never changed afterwards, and cheap. Making one takes a tenth
of the time of a frozen dataclass, which sets each field through object.__setattr__ (docs/decisions.md).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, dataclass_transform

import msgspec

if TYPE_CHECKING:
    # Type checkers compare the arguments of dataclasses.replace, and of no other function, with the fields.
    from dataclasses import replace
else:
    from msgspec.structs import replace

__all__ = ["Value", "field", "replace", "representation_without"]


def field(*, default_factory: Callable[[], Any]) -> Any:
    """A field whose default is made anew for each value."""
    return msgspec.field(default_factory=default_factory)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Value(msgspec.Struct, frozen=True, gc=False):
    """An immutable value with the fields that its annotations name; AttributeError when one is set.

    Equal to a value of the same class with equal fields; `replace` makes a changed copy. The garbage collector does not
    look into values: a value must not be part of a reference cycle.
    """


def representation_without(value: Value, *hidden: str) -> str:
    """The text of `__repr__` without the `hidden` fields: secrets, which must not get into a log, or long texts."""
    fields = ((name, getattr(value, name)) for name in value.__struct_fields__ if name not in hidden)
    return f"{type(value).__qualname__}({', '.join(f'{name}={field!r}' for name, field in fields)})"
