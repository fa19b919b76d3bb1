from typing import ClassVar

import pytest

from dmarcmilter.mail.message import Header
from dmarcmilter.value import Value, field, replace, representation_without


class Point(Value):
    x: int
    y: int = 0
    names: list[str] = field(default_factory=list)


class Key(Value):
    domain: str
    secret: bytes = b""
    KINDS: ClassVar[tuple[str, ...]] = ("rsa",)

    def __repr__(self) -> str:
        return representation_without(self, "secret")


def test_a_value_cannot_be_changed():
    with pytest.raises(AttributeError):
        Point(1).x = 2
    with pytest.raises(AttributeError):
        del Point(1).x


def test_a_value_has_no_further_attributes():
    with pytest.raises(AttributeError):
        Point(1).z = 2


def test_equal_by_class_and_fields():
    assert Point(1, 2) == Point(1, y=2) != Point(2, 2)
    assert Point(1) != Key("a")
    assert len({Key("a"), Key("a"), Key("b")}) == 2


def test_a_default_factory_makes_a_new_one_each_time():
    assert Point(1).names is not Point(1).names


def test_a_changed_copy():
    first = Point(1, 2)
    assert replace(first, x=3) == Point(3, 2)
    assert first == Point(1, 2)
    with pytest.raises(TypeError):
        replace(first, z=3)


def test_no_secret_in_a_representation():
    assert repr(Key("example.com", b"\1\2")) == "Key(domain='example.com')"
    assert repr(Point(1)) == "Point(x=1, y=0, names=[])"


def test_a_header_field_keeps_its_name_in_lower_case():
    """Also in a changed copy, and whoever gives another."""
    header = replace(Header(b"Subject", b" x", b"from"), name=b"To")
    assert (header.name, header.key) == (b"To", b"to")
    assert Header(b"Subject", b" x", b"from").key == b"subject"
