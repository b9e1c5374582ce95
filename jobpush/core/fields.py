"""
How a value's fields are declared: each once, as an attribute whose metadata says what the wire must know of it.

The encoder and the decoder (`jobpush.core.wire.jobs`) and the schema (`jobpush.web.openapi_schemas`) follow from the
declarations. Tested through what follows, in tests/core/wire/test_jobs.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import attrs


class FieldKind(Enum):
    """What a field holds, and so how it is written and read."""

    TEXT = "a text"
    NUMBER = "a whole number"
    BOOLEAN = "true or false"
    TIME = "seconds since the epoch; a time of RFC 3339 on the wire"
    WORD = "a member of an enumeration; its value on the wire"
    TEXTS = "a tuple of texts; a list on the wire"
    TABLE = "texts by name"
    COUNTS = "numbers by state"
    TASKS = "a set of array indices; a text such as 0-9 on the wire"
    ATTEMPT = "how an attempt ended; an object on the wire"


@attrs.frozen
class Field:
    """
    A field of a value on the wire.

    :ivar name: its name, of the attribute and on the wire.
    :ivar words: the members of the enumeration that one of kind WORD is, by their values.
    :ivar nullable: whether it is null where nothing is known.
    :ivar optional: whether it is left out where nothing is known.
    :ivar event: whether there is an event when it changes.
    :ivar description: for people who use the protocol; may be empty.
    """

    name: str
    kind: FieldKind
    words: Mapping[str, object] = attrs.field(factory=dict)
    nullable: bool = False
    optional: bool = False
    event: bool = False
    description: str = ""


#: Where an attribute's metadata has its declaration.
_KEY = "jobpush.field"


def on_wire(
    kind: FieldKind | type[Enum], description: str = "", *, event: bool = False, optional: bool = False
) -> Mapping[str, object]:
    """
    Return the metadata of an attribute that is a field on the wire.

    :param kind: of a word, its enumeration.
    """
    return {_KEY: (kind, description, event, optional)}


def fields_of(value: type[attrs.AttrsInstance]) -> list[Field]:
    """Return the fields that a class declares, in their order. Those whose attribute is None by default are nullable."""
    found = []
    for attribute in attrs.fields(value):
        kind, description, event, optional = attribute.metadata[_KEY]
        words: Mapping[str, object] = {}
        if not isinstance(kind, FieldKind):
            words, kind = {member.value: member for member in kind}, FieldKind.WORD
        nullable = attribute.default is None and not optional
        found.append(Field(attribute.alias or attribute.name, kind, words, nullable, optional, event, description))
    return found
