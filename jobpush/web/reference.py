"""
The HTTP interface as a page that people read (``/docs``): made from the OpenAPI document, without scripts.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from jobpush.web.openapi_schemas import Schema

_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h2{margin-top:2.5rem;border-bottom:1px solid;padding-bottom:.2rem}
h3{margin-top:2rem}
code{font:13px/1.5 ui-monospace,monospace}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.25rem .8rem .25rem 0;border-bottom:1px solid #8886}
.scrolls{overflow-x:auto}
nav ul{columns:2;padding-left:1.2rem}
"""

_TAGS = ("jobs", "changes", "barriers", "workflows", "streams", "identity", "operations")


def page(document: Schema) -> bytes:
    """The page, in HTML."""
    return "".join(_page(document)).encode()


def _page(document: Schema) -> Iterator[str]:
    info = document["info"]
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>jobpush: HTTP</title><style>{_STYLE}</style></head><body><main>"
    yield f"<h1>jobpush</h1><p>{_text(info['summary'])} {_text(info['description'])}</p>"
    yield '<p>The same for programs: <a href="openapi.json">openapi.json</a> (OpenAPI 3.1).</p>'
    operations = [
        (tag, method, path, operation)
        for tag in _TAGS
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation["tags"] == [tag]
    ]
    yield '<nav aria-label="Requests"><ul>'
    for _, method, path, operation in operations:
        yield f'<li><a href="#{operation["operationId"]}"><code>{method.upper()} {_text(path)}</code></a></li>'
    yield "</ul></nav>"
    for tag, method, path, operation in operations:
        if operation is next(o for t, _, _, o in operations if t == tag):
            yield f"<h2>{_text(tag.capitalize())}</h2>"
        yield from _operation(method, path, operation, document)
    yield "<h2>Values</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f'<h3 id="schema-{name}">{_text(name)}</h3>'
        for part in schema.get("allOf", [schema]):
            yield from _fields(part) if "properties" in part else (f"<p>All fields of {_type(part)}, and:</p>",)
    yield "</main></body></html>"


def _operation(method: str, path: str, operation: Schema, document: Schema) -> Iterator[str]:
    yield f'<h3 id="{operation["operationId"]}"><code>{method.upper()} {_text(path)}</code></h3>'
    yield f"<p><strong>{_text(operation['summary'])}.</strong> {_text(operation['description'])}</p>"
    parameters = operation.get("parameters", [])
    if parameters:
        yield '<div class="scrolls"><table><thead><tr><th scope="col">parameter</th><th scope="col">in</th>'
        yield '<th scope="col">type</th><th scope="col">meaning</th></tr></thead><tbody>'
        for parameter in parameters:
            yield f"<tr><td><code>{_text(parameter['name'])}</code></td><td>{parameter['in']}</td>"
            yield f"<td>{_type(parameter['schema'])}</td><td>{_text(parameter['description'])}</td></tr>"
        yield "</tbody></table></div>"
    if "requestBody" in operation:
        yield "<p>The body, JSON:</p>"
        yield from _fields(operation["requestBody"]["content"]["application/json"]["schema"])
    yield '<div class="scrolls"><table><thead><tr><th scope="col">status</th><th scope="col">answer</th></tr></thead><tbody>'
    for status, answer in operation["responses"].items():
        found = document["components"]["responses"][answer["$ref"].rpartition("/")[2]] if "$ref" in answer else answer
        schema: Schema = next((media.get("schema", {}) for media in found.get("content", {}).values()), {})
        yield f"<tr><td>{status}</td><td>{_text(found['description'])} {_type(schema)}</td></tr>"
    yield "</tbody></table></div>"


def _fields(schema: Schema) -> Iterator[str]:
    yield '<div class="scrolls"><table><thead><tr><th scope="col">field</th><th scope="col">type</th>'
    yield '<th scope="col">meaning</th></tr></thead><tbody>'
    for name, field in schema["properties"].items():
        optional = "" if name in schema.get("required", ()) else " (may be absent)"
        yield f"<tr><td><code>{_text(name)}</code></td><td>{_type(field)}{optional}</td>"
        yield f"<td>{_text(field.get('description', ''))}</td></tr>"
    yield "</tbody></table></div>"


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#schema-{name}">{_text(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"<code>{_text(value)}</code>" for value in schema["enum"])
    kind: str | list[str] = schema.get("type", "")
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    names = kind if isinstance(kind, list) else [kind]
    text = " or ".join(str(schema.get("format", name)) if name == "string" else name for name in names)
    return _text(text)


def _text(value: object) -> str:
    """Text, with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape("null" if value is None else str(value)))
