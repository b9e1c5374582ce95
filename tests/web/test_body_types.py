"""Every kind of JSON value in every field of every body: an answer, or 400 that names the field and says what was expected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from treq.testing import StubTreq

from jobpush.web import Each, resource
from jobpush.web.access import Policy
from jobpush.web.identity import Identity
from jobpush.web.openapi import document
from jobpush.web.tickets import Tickets
from jobpush.web.tokens import Tokens
from tests.support import USER_HEADER, LabCase, Pending, Says

#: Values of each type, and some that are no value of any: bytes of JSON, so that they are sent as they are.
VALUES = [
    b"true", b"false", b"0", b"-1", b"1.5", b"1e400", b"-1e400", b"NaN", b"Infinity", b"1" + b"0" * 400, b'""', b'"x"', b'"1"', b'"memory/1"',
    b'"\\ud800"', b'"memory/\\ud800"', b'"\\u0000"', b'"memory/\\u0000"', b"[]", b"[null]", b"[0]", b"[true]", b"[[]]", b"[{}]", b'[""]',
    b'["\\udfff"]', b'["x", 1]', b"{}", b'{"a": 1}', b'[["memory/1"]]', b'[["memory/1", 2]]', b'[["a", "b", "c"]]', b'[{"a": []}]', b"[" * 50 + b"]" * 50,
    b'"' + b"x" * 5000 + b'"', b'["memory/1", ["memory/2"]]', b'[["\\ud800", "x"]]',
]  # fmt: skip

#: A body that each route takes, without the field that is tried.
WHOLE: dict[str, dict[str, object]] = {
    "/v1/changes": {"wait": 0},
    "/v1/wait": {"jobs": ["memory/1"], "wait": 0},
    "/v1/workflows/{name}": {"jobs": ["memory/1", "memory/2"]},
    "/v1/workflows/{owner}/{name}": {"jobs": ["memory/1", "memory/2"]},
    "/v1/nudge": {},
    "/v1/tokens": {},
    "/v1/tickets": {},
}


def bodies() -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Method, path, name of the path in the description, and fields of each route that takes a body."""
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            if "requestBody" in operation:
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                yield method.upper(), path.replace("{name}", "w").replace("{owner}", "kim"), path, schema["properties"]


def with_field(whole: dict[str, object], field: str, value: bytes) -> bytes:
    """A body with this value, which need be no JSON, in that field."""
    rest = json.dumps({name: each for name, each in whole.items() if name != field})
    return b'{"%b": %b%b' % (field.encode(), value, b"}" if rest == "{}" else b", " + rest[1:].encode())


class FieldTests(LabCase):
    """The routes that take bodies."""

    def setUp(self) -> None:
        super().setUp()
        tokens = Tokens(self.lab.journal, self.lab.clocks.wall, lambda is_revoked: None)
        identity = Identity([Says()])
        tickets = Tickets(self.lab.clock)
        self.lab.resource = resource(self.lab.service, Policy(), identity, tokens, tickets=tickets, max_held=100, each=Each(requests=10**9))
        self.lab.treq = StubTreq(self.lab.resource)

    def check(self, answer: Pending, field: str, asked: object) -> bool:
        """It is answered; if it is refused, by the name of the field, with what was expected. Return whether it is."""
        if answer.held:
            answer.cancel()
            return False
        self.assertIn(answer.status, (200, 201, 202, 400, 404, 410, 429), asked)  # 429: so many tickets as one may have
        if answer.status == 400:
            problem = answer.json()
            self.assertIn(field.rstrip("s"), str(problem["parameter"]), (asked, problem))
            self.assertRegex(problem["detail"], "expected|none of|there is no|no name|not a job id|is not|must", (asked, problem))
        answer.body()
        return answer.status == 400

    def test_each_value_in_each_field(self) -> None:
        """No fault of ours, whatever it is."""
        routes = list(bodies())
        self.assertEqual(sorted({name for _, _, name, _ in routes}), sorted(WHOLE))
        refused = 0
        for method, path, name, fields in routes:
            for field in fields:
                for value in VALUES:
                    body = with_field(WHOLE[name], field, value)
                    refused += self.check(self.lab.request(method, path, headers={USER_HEADER: "kim"}, data=body), field, (method, path, body[:200]))
        self.assertGreater(refused, 400)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_bodies_that_are_no_object(self) -> None:
        """So are bodies that are no JSON object."""
        for method, path, name, _ in bodies():
            for body in (*VALUES, b"{", b"\xff", b'{"a": 1, }', b'{"\\ud800": 1}', b'{"jobs": ["x"]}garbage', b"null"):
                if body.startswith(b'{"a": 1}') or body == b"{}":
                    continue
                answer = self.lab.request(method, path, headers={USER_HEADER: "kim"}, data=body)
                self.assertEqual(answer.status, 400, (name, body[:100]))
                self.assertIn("detail", answer.json())
        self.assertEqual(self.flushLoggedErrors(), [])

    JSON = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    )

    @settings(max_examples=150, deadline=None)
    @given(data=st.data())
    def test_any_value(self, data: st.DataObject) -> None:
        """The same with values that nobody has thought of."""
        method, path, name, fields = data.draw(st.sampled_from(list(bodies())))
        field = data.draw(st.sampled_from(sorted(fields)))
        value = json.dumps(data.draw(self.JSON)).encode()
        self.check(self.lab.request(method, path, headers={USER_HEADER: "kim"}, data=with_field(WHOLE[name], field, value)), field, (path, field, value))
        self.assertEqual(self.flushLoggedErrors(), [])
