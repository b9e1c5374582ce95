"""The schemas of answers: what they let through, and what not."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

from jobpush.core.fields import Field, FieldKind
from jobpush.core.model import JOB_FIELDS, Phase
from jobpush.web.openapi_schemas import SCHEMAS, enum_of, list_of, object_of, or_null, ref, schema_of
from tests.support import LabCase


def fits(schema: Any, value: object) -> bool:
    """Whether a value is as a schema says, of this module's."""
    return bool(Draft202012Validator({**schema, "components": {"schemas": SCHEMAS}}).is_valid(value))


class PartsTests(LabCase):
    """What schemas are made of."""

    def test_or_null(self) -> None:
        """Null is one more value; whatever else was said stays."""
        schema = or_null({"type": "integer", "minimum": 1}, description="x")
        self.assertEqual([fits(schema, value) for value in (1, None, 0, "1")], [True, True, False, False])
        self.assertEqual(schema["description"], "x")

    def test_objects(self) -> None:
        """Every property must be there but the optional ones, each of its kind."""
        schema = object_of({"a": {"type": "string"}, "b": list_of({"type": "integer"})}, optional=("b",))
        for value, right in (({"a": "x"}, True), ({"a": "x", "b": [1]}, True), ({"b": [1]}, False), ({"a": "x", "b": ["1"]}, False), ([], False)):
            self.assertEqual(fits(schema, value), right, value)

    def test_enumerations(self) -> None:
        """The members' values, or texts, and nothing else."""
        self.assertEqual([fits(enum_of(Phase), value) for value in ("RUNNING", "running", None)], [True, False, False])
        self.assertEqual([fits(enum_of(["x"]), value) for value in ("x", "y")], [True, False])

    def test_references(self) -> None:
        """Each that a schema has is one of the schemas."""
        found: list[str] = []

        def walk(value: Any) -> None:
            if isinstance(value, dict):
                found.extend([value["$ref"]] if "$ref" in value else [])
                for part in value.values():
                    walk(part)
            elif isinstance(value, list):
                for part in value:
                    walk(part)

        walk(SCHEMAS)
        self.assertIn("#/components/schemas/Job", found)
        self.assertLessEqual(set(found), {ref(name)["$ref"] for name in SCHEMAS})

    def test_fields(self) -> None:
        """A declared field of each kind, with null where it may be null, and its description."""
        kinds: dict[FieldKind, tuple[object, object]] = {
            FieldKind.TEXT: ("x", 1), FieldKind.NUMBER: (1, "1"), FieldKind.BOOLEAN: (True, "true"), FieldKind.TIME: ("2026-01-01T00:00:00Z", 1.5),
            FieldKind.TEXTS: (["x"], "x"), FieldKind.TABLE: ({"a": "x"}, {"a": 1}), FieldKind.COUNTS: ({"a": 1}, {"a": "x"}), FieldKind.TASKS: ("0-9", 5),
        }  # fmt: skip
        self.assertEqual(set(FieldKind) - set(kinds), {FieldKind.WORD, FieldKind.ATTEMPT})
        for kind, (right, wrong) in kinds.items():
            self.assertEqual([fits(schema_of(Field("f", kind)), value) for value in (right, wrong, None)], [True, False, False], kind)
            self.assertTrue(fits(schema_of(Field("f", kind, nullable=True)), None), kind)
        word = Field("f", FieldKind.WORD, words={"a": 1, "b": 2})
        self.assertEqual([fits(schema_of(word), value) for value in ("a", "c", None)], [True, False, False])
        self.assertEqual(schema_of(Field("f", FieldKind.TEXT, description="what"))["description"], "what")
        nullable = Field("f", FieldKind.WORD, words={"a": 1}, nullable=True)
        self.assertEqual([fits(schema_of(nullable), value) for value in ("a", "c", None)], [True, False, True])


class JobTests(LabCase):
    """The schema of a job."""

    def setUp(self) -> None:
        super().setUp()
        self.job = self.lab.get("/v1/jobs/memory/1").json()["job"]

    def test_right(self) -> None:
        """What is answered fits, and says all that must be said."""
        self.assertTrue(fits(SCHEMAS["Job"], self.job))
        self.assertEqual(set(SCHEMAS["Job"]["properties"]), {field.name for field in JOB_FIELDS})

    def test_wrong(self) -> None:
        """Each field without which it would be none, and each that is of another kind, is noticed."""
        for name in SCHEMAS["Job"]["required"]:
            self.assertFalse(fits(SCHEMAS["Job"], {key: value for key, value in self.job.items() if key != name}), name)
            self.assertFalse(fits(SCHEMAS["Job"], {**self.job, name: 1.5}), name)
        self.assertFalse(fits(SCHEMAS["Job"], {**self.job, "state": "DONE"}))
