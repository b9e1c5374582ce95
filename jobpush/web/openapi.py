"""
The HTTP interface as an OpenAPI 3.1 document. tests/web/test_openapi.py holds it against the routes and against real answers.
"""

from __future__ import annotations

from collections.abc import Mapping

from jobpush.core.model import STATES
from jobpush.web.openapi_schemas import INTEGER, NUMBER, SCHEMAS, TEXT, Schema, enum_of, list_of, ref
from jobpush.web.params import DEFAULT_LIMIT, DEFAULT_WAIT_S, FILTERS, HIGHEST_LIMIT, LONGEST_WAIT_S, MOST_IDS
from jobpush.web.principal import Scope
from jobpush.web.tokens import HOURS, MOST_HOURS, MOST_LABEL

_FILTER_TEXTS = {
    "cluster": "Only of this cluster.",
    "user": "Only of this user.",
    "account": "Only of this account.",
    "state": "Only in this state.",
    "queue": "Only in this queue or partition.",
    "name": "Only with this name; may hold the wildcards *, ? and […].",
    "comment": "Only with this comment; may hold wildcards.",
    "workflow": "Only of this workflow.",
}

_WAIT_TEXT = (
    f"Seconds to hold the request, decimals allowed; over {LONGEST_WAIT_S:g} is {LONGEST_WAIT_S:g}. The answer comes between 15/16 of "
    "it and all of it."
)


def _query(name: str, schema: Schema, text: str, many: bool = False) -> Schema:
    schema = list_of(schema) if many else schema
    return {"name": name, "in": "query", "description": text, "schema": schema, **({"explode": True} if many else {})}


def _path(name: str, text: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "description": text, "schema": TEXT}


def _header(name: str, text: str) -> Schema:
    return {"name": name, "in": "header", "description": text, "schema": TEXT}


def _filters(*without: str) -> list[Schema]:
    states = {"state": enum_of(STATES)}
    return [_query(n, states.get(n, TEXT), _FILTER_TEXTS[n], many=True) for n in FILTERS if n not in without]


_JOB_PARAMETER = _query(
    "job", TEXT, "Only this job, and the tasks of this array: CLUSTER/ID, or an id alone where one cluster is served.", many=True
)
_SINCE = _query(
    "since", TEXT, "The cursor of an earlier answer or event: what comes after it. `now`: the head; `0`: the oldest that is kept."
)
_WAIT = _query("wait", {**NUMBER, "default": DEFAULT_WAIT_S, "minimum": 0}, _WAIT_TEXT)
_LIMIT = _query(
    "limit", {**INTEGER, "default": DEFAULT_LIMIT, "minimum": 1}, f"How many events at most; over {HIGHEST_LIMIT} is {HIGHEST_LIMIT}."
)
_UNTIL = _query("until", enum_of(["change", "started", "terminal"]), "Hold until it has changed, begun or ended; `started` and "
                "`terminal` answer at once if it is so already.")  # fmt: skip
_TICKET = _query("ticket", TEXT, "What POST /v1/tickets gave for these filters: who asks is who got it. It is good once.")
_NEW_TOKEN = {
    "scopes": {**list_of(enum_of(Scope)), "description": "What it is good for; all, if there are none."},
    "hours": {**NUMBER, "exclusiveMinimum": 0, "maximum": MOST_HOURS, "description": f"For how long; by default {HOURS:g}."},
    "label": {**TEXT, "maxLength": MOST_LABEL, "description": "What its owner calls it."},
}
_BODY_IDS = {**list_of(TEXT), "maxItems": MOST_IDS}


def _answers(name: str, text: str, *problems: int, status: int = 200, media: str = "application/json") -> dict[str, Schema]:
    schema = ref(name) if name else TEXT
    found: dict[str, Schema] = {
        str(status): {
            "description": text,
            "headers": {"Jobpush-Cursor": {"description": "The cursor, as in the body.", "schema": TEXT}},
            # What a stream is made of has no schema here: some tools take one for that of each event.
            "content": {media: {"schema": schema} if media != "text/event-stream" else {}},
        }
    }
    for problem in problems:
        found[str(problem)] = {"$ref": f"#/components/responses/{problem}"}
    return found


def _body(properties: Mapping[str, Schema], required: tuple[str, ...] = ()) -> Schema:
    schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    if required:
        schema["required"] = list(required)
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _posted(parameters: list[Schema]) -> dict[str, Schema]:
    """Parameters of a query as fields of a body, which says ``jobs`` and ``workflows``."""
    names = {"job": "jobs", "workflow": "workflows"}
    fields: dict[str, Schema] = {}
    for parameter in parameters:
        name: str = parameter["name"]
        schema = parameter["schema"]
        if name == "job":
            schema = _BODY_IDS
        elif schema.get("type") == "array":
            schema = {"anyOf": [schema["items"], schema]}
        fields[names.get(name, name)] = schema
    return fields


def _operation(
    name: str, tag: str, summary: str, text: str, answers: dict[str, Schema], parameters: list[Schema] | None = None,
    body: Schema | None = None,
) -> Schema:  # fmt: skip
    operation: Schema = {"operationId": name, "tags": [tag], "summary": summary, "description": text, "responses": answers}
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = body
    return operation


_WAIT_PARAMETERS = [
    _query("job", TEXT, "A job or array, as CLUSTER/ID, or an id alone where one cluster is served.", many=True),
    _query("workflow", TEXT, "A workflow: NAME for one of one's own, OWNER/NAME, or -/NAME for nobody's.", many=True),
    _query("mode", {**TEXT, "pattern": "^(any|all|[1-9][0-9]*)$", "default": "all"}, "How many must be met: any, all or a number."),
    _query("until", {**enum_of(["started", "terminal"]), "default": "terminal"}, "What they must have done."),
    _WAIT,
    _query("since", TEXT, "A cursor: any and a number count, and met lists, only what was met after it."),
]
_CHANGES_PARAMETERS = [*_filters(), _JOB_PARAMETER, _SINCE, _WAIT, _LIMIT]
_WORKFLOW_NAME = _path("name", "The name of one of one's own workflows; NAME@OWNER is another's.")
_WORKFLOW_OWNER = _path("owner", "Whose it is; - for nobody's: of clients that did not say who they are.")


def _workflow(suffix: str, name: list[Schema]) -> Schema:
    """
    The methods of one workflow.

    :param suffix: of the operations' names.
    :param name: the parameters that name it.
    """
    return {
        "get": _operation(
            f"getWorkflow{suffix}", "workflows", "One workflow, now or when it changes", "As with a job.",
            _answers("WorkflowAnswer", "The workflow with its jobs.", 400, 404, 410, 503), [*name, _SINCE, _WAIT, _UNTIL],
        ),
        "put": _operation(
            f"putWorkflow{suffix}", "workflows", "Say which jobs a workflow has",
            "The same once more changes nothing. For its owner and operators; to others it does not exist.",
            {**_answers("WorkflowAnswer", "It is so now.", 400, 404, 413, 429, 503),
             "201": _answers("WorkflowAnswer", "It is new.", status=201)["201"]},
            name,
            _body({"jobs": _BODY_IDS, "edges": list_of({"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2})}, ("jobs",)),
        ),
        "delete": _operation(
            f"deleteWorkflow{suffix}", "workflows", "Forget a workflow", "Its jobs are left alone. For its owner and operators.",
            {"204": {"description": "It is forgotten."}, "404": {"$ref": "#/components/responses/404"},
             "400": {"$ref": "#/components/responses/400"}, "503": {"$ref": "#/components/responses/503"}},
            name,
        ),
    }  # fmt: skip


def paths() -> dict[str, Schema]:
    """Every address, with its methods."""
    found = _paths()
    for path, methods in found.items():
        for operation in methods.values():
            problems = [400] if path in ("/healthz", "/readyz") else [400, 403, 421]
            if "requestBody" in operation:
                problems += [413, 415]
            for problem in problems:
                operation["responses"].setdefault(str(problem), {"$ref": f"#/components/responses/{problem}"})
    return found


def _paths() -> dict[str, Schema]:
    """The same, without the answers that each may give to whoever asks in a way in which nothing may be asked."""
    return {
        "/v1/jobs": {
            "get": _operation(
                "listJobs", "jobs", "Jobs now",
                "All jobs that match, a page at a time. Follow them from the first page's cursor with /v1/changes or /v1/events. "
                "Where it is known who asks, the header Jobpush-User of the answer says who that is.",
                _answers("Jobs", "A page of jobs.", 400, 410),
                [*_filters(), _JOB_PARAMETER, _query("limit", {**INTEGER, "minimum": 1}, "How many at most; over 2000 is 2000."),
                 _query("after", TEXT, "The next page: what the page before gave.")],
            )
        },
        "/v1/jobs/{cluster}/{id}": {
            "get": _operation(
                "getJob", "jobs", "One job, now or when it changes",
                "Without since, until or wait: at once. With them the request is held until it is so, or the time is up "
                "(timed_out). With If-None-Match (and Prefer: wait=N) it is 304 where nothing has changed. An id that is not known is "
                "held until a query of the scheduler that began after the request has not found it; only then it is 404.",
                {**_answers("JobAnswer", "The job, with the events after since.", 400, 404, 410, 503),
                 "304": {"description": "Not modified (with If-None-Match)."}},
                [_path("cluster", "The name of the cluster."), _path("id", "The job's id, or an alias of it."), _SINCE, _WAIT, _UNTIL,
                 _header("If-None-Match", "The ETag of an earlier answer."),
                 _header("Prefer", "wait=N holds a conditional request (RFC 7240).")],
            )
        },
        "/v1/changes": {
            "get": _operation(
                "getChanges", "changes", "Every change after a cursor, now or when it comes",
                "With since: all matching events after it, oldest first; if there are none, held. Without: the present cursor at once.",
                _answers("Changes", "The events.", 400, 410, 503), _CHANGES_PARAMETERS,
            ),
            "post": _operation(
                "postChanges", "changes", "The same, with the parameters in a body", "For long lists of jobs.",
                _answers("Changes", "The events.", 400, 410, 413, 503), body=_body(_posted(_CHANGES_PARAMETERS)),
            ),
        },
        "/v1/wait": {
            "get": _operation(
                "getWait", "barriers", "Wait for any, some or all of many",
                "A barrier over jobs, arrays and workflows, of any cluster. Level-triggered: what is so already counts at once.",
                _answers("Barrier", "Who is done, and how.", 400, 410, 413, 503), _WAIT_PARAMETERS,
            ),
            "post": _operation(
                "postWait", "barriers", "The same, with the parameters in a body", f"Up to {MOST_IDS} jobs and workflows.",
                _answers("Barrier", "Who is done, and how.", 400, 410, 413, 503), body=_body(
                    {**_posted(_WAIT_PARAMETERS), "workflows": _BODY_IDS,
                     "mode": {"anyOf": [enum_of(["any", "all"]), {**INTEGER, "minimum": 1}]}}
                ),
            ),
        },
        "/v1/events": {
            "get": _operation(
                "getEvents", "streams", "Changes as server-sent events",
                "`event:` is job, workflow, bookmark or reset, `id:` the cursor. Last-Event-ID goes on where a stream was cut off.",
                _answers("", "A stream without an end.", 400, 503, media="text/event-stream"),
                [*_filters(), _JOB_PARAMETER, _SINCE, _TICKET, _query("last_event_id", TEXT, "As the header, for who can send none."),
                 _header("Last-Event-ID", "The id of the last event that was received.")],
            )
        },
        "/v1/socket": {
            "get": _operation(
                "getSocket", "streams", "Changes over a WebSocket",
                "The same events as messages; a message {\"select\": {filters}} changes what is followed.",
                {"101": {"description": "It is a WebSocket now."}, **{
                    str(status): {"$ref": f"#/components/responses/{status}"} for status in (400, 403, 426, 501, 503)
                }},
                [*_filters(), _JOB_PARAMETER, _SINCE, _TICKET],
            )
        },
        "/v1/workflows": {
            "get": _operation(
                "listWorkflows", "workflows", "Workflows now", "Without their jobs, by name, a page at a time.",
                _answers("Workflows", "A page of workflows.", 400),
                [_query("state", enum_of(STATES), _FILTER_TEXTS["state"], many=True), _query("user", TEXT, "Of this user.", many=True),
                 _query("limit", {**INTEGER, "minimum": 1}, "How many at most; over 2000 is 2000."),
                 _query("after", TEXT, "The next page: what the page before gave.")],
            )
        },
        "/v1/workflows/{name}": _workflow("", [_WORKFLOW_NAME]),
        "/v1/workflows/{owner}/{name}": _workflow("Of", [_WORKFLOW_OWNER, _WORKFLOW_NAME]),
        "/v1/tokens": {
            "get": _operation("listTokens", "identity", "One's own tokens", "", _answers("Tokens", "What is known of them.", 404)),
            "post": _operation(
                "makeToken", "identity", "A new token", "For whoever asks, who must have said so otherwise than by a token.",
                _answers("NewToken", "It is good from now on.", 400, 403, 404, 429, status=201),
                body={**_body(_NEW_TOKEN), "required": False},
            )
        },
        "/v1/tokens/{id}": {
            "delete": _operation(
                "revokeToken", "identity", "A token is good no more", "What is held with it is answered with 401.",
                {"204": {"description": "It is so now."}, "404": {"$ref": "#/components/responses/404"}},
                [{"name": "id", "in": "path", "required": True, "schema": TEXT, "description": "Its id, or `all`."}],
            )
        },
        "/v1/tickets": {
            "post": _operation(
                "makeTicket", "identity", "A ticket for a stream",
                "For EventSource and WebSocket, which send no header: it opens one stream, with these filters, within 30 s.",
                _answers("NewTicket", "It is good from now on.", 400, 403, 404, 429, status=201),
                body={**_body(_posted([*_filters(), _JOB_PARAMETER])), "required": False},
            )
        },
        "/v1/nudge": {
            "post": _operation(
                "postNudge", "operations", "Look now", "For schedulers' hooks. What it says is never believed: it only causes a query.",
                _answers("Nudged", "It will be looked at.", 400, 413, 429, status=202),
                body=_body({"cluster": TEXT, "jobs": list_of(TEXT)}),
            )
        },
        "/jobstatus": {
            "get": _operation(
                "jobStatus", "jobs", "The call of the 2010 report",
                "The bare descriptor of a job; with since: at its next change. At the time-out `null`, with Jobpush-Timed-Out: 1.",
                {"200": {**_answers("Job", "The job, or null.")["200"], "content": {"application/json": {
                    "schema": {"anyOf": [ref("Job"), {"type": "null"}]}}}},
                 **{str(status): {"$ref": f"#/components/responses/{status}"} for status in (400, 404, 410, 503)}},
                [{**_query("jobId", TEXT, "The job's id."), "required": True}, _query("cluster", TEXT, "Where several are served."),
                 _query("timeout", {**NUMBER, "default": DEFAULT_WAIT_S, "minimum": 0}, _WAIT_TEXT), _SINCE],
            )
        },
        "/healthz": {
            "get": _operation("healthz", "operations", "The process answers", "", _answers("Health", "It does."))
        },
        "/readyz": {
            "get": _operation(
                "readyz", "operations", "Can it do its work, and what is missing?",
                "Where jobs are hidden from who does not say who he is, others than operators are told the status alone.",
                {**_answers("Readiness", "It can."), "503": _answers("Readiness", "It cannot.", status=503)["503"]},
            )
        },
        "/metrics": {
            "get": _operation(
                "metrics", "operations", "Measurements for Prometheus",
                "Where jobs are hidden from who does not say who he is: for operators, and their tokens with the scope metrics.",
                _answers("", "Text in Prometheus' format.", 401, media="text/plain"),
            )
        },
        "/openapi.json": {
            "get": _operation(
                "openapi", "operations", "This document", "",
                {"200": {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}}},
            )
        },
    }  # fmt: skip


_PROBLEM_TEXTS = {
    400: "A parameter is wrong; `parameter` names it.",
    401: "Who asks must say who he is, or what he says is not so, or not any more.",
    403: "The page of another site may not ask here, or what the request was made with is not for this, or not from there.",
    404: "There is none. Of tokens and tickets: nobody can say here who he is.",
    410: "The journal no longer holds what follows this cursor: take a snapshot, and go on from its cursor.",
    413: "Too long, or too many.",
    415: "A body is application/json, and says so.",
    421: "The Host is no name or address that the service is known by.",
    426: "This needs an upgrade to WebSocket.",
    429: "Too many, or too many wrong passwords before; come back after Retry-After seconds.",
    501: "WebSocket is not installed here.",
    503: "As many requests are held or come as may be, or it is not known yet what may be shown; come back after Retry-After seconds.",
}


#: How clients say who they are. Which of these a service takes, and whether it takes who says nothing, is its administrator's choice.
_SECURITY = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token that `jobpush login` or POST /v1/tokens gave, or a JWT of Slurm's or of an identity provider.",
    },
    "slurm": {"type": "apiKey", "in": "header", "name": "X-SLURM-USER-TOKEN", "description": "A JWT of Slurm's (scontrol token)."},
    "password": {"type": "http", "scheme": "basic", "description": "A name and a password of the users file."},
    "ticket": {"type": "apiKey", "in": "query", "name": "ticket", "description": "What POST /v1/tickets gave, once."},
}


def _with_who_asks(every: Schema) -> Schema:
    """
    The same, where each address that may show a job says what becomes of those who may not see it, or may not yet; and each but
    those of health checks of those who ask too often.
    """
    for path, operations in every.items():
        if path not in ("/healthz", "/readyz"):
            shows_jobs = path.startswith("/v1/") or path == "/jobstatus"
            names = [name for name in _SECURITY if name != "ticket" or path in ("/v1/events", "/v1/socket")]
            for operation in operations.values():
                if shows_jobs or path == "/metrics":
                    operation["security"] = [{}, *({name: []} for name in names)]
                for status in (401, 429, 503) if shows_jobs else (429, 503):
                    operation["responses"].setdefault(str(status), {"$ref": f"#/components/responses/{status}"})
    return every


def document() -> Schema:
    """The whole of it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jobpush",
            "version": "1",
            "summary": "Changes of batch jobs, pushed to those who wait for them.",
            "description": "Errors are application/problem+json and name what is wrong. Parameters that are not listed are refused, "
            "unless they begin with `_`.",
        },
        "servers": [{"url": "/"}],
        "paths": _with_who_asks(paths()),
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": _SECURITY,
            "responses": {
                str(status): {"description": text, "content": {"application/problem+json": {"schema": ref("Problem")}}}
                for status, text in _PROBLEM_TEXTS.items()
            },
        },
    }
