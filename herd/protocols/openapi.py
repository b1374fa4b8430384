"""The description of the whole HTTP surface in OpenAPI 3.1: `GET /herd/v1/openapi.json`.

Paths and methods are those of the table in `paths`; Herd's own answers are described by the types that they are made
from. So neither can differ from what is served, and an endpoint that nobody described has no place here (`KeyError`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any, get_args

import msgspec
import orjson

from herd.protocols import herd_api, openapi_schemas, stories
from herd.protocols.apis import OF_HERD
from herd.protocols.live import LogLine, Topic
from herd.protocols.multipart import FORM
from herd.protocols.openapi_schemas import Schema
from herd.protocols.paths import ENDPOINTS, ORDERS, Endpoint, EndpointKind
from herd.protocols.web_page import FILES, content_type
from herd.types import Api, Dialect, Priority

_JSON = "application/json"
_TEXT = "text/plain"
_REF = "#/components/schemas/{name}"


@dataclass(frozen=True, slots=True)
class Operation:
    """What the table of endpoints does not say of one. `answer` is a schema, or the name of one of Herd's own."""

    summary: str
    answer: Schema | str | None = None  # None: no body
    answer_type: str = _JSON
    streams: str | None = None  # the type of a streamed answer, where there can be one
    status: int = 200
    body: Schema | None = None
    body_type: str = _JSON
    form: Schema | None = None  # a body that may come as a form with a file, too, or only so
    body_required: bool = True
    tail: tuple[Schema, ...] = ()  # parameters of the path behind the endpoint's own
    query: tuple[Schema, ...] = ()
    refusals: tuple[int, ...] = ()  # statuses that mean something of their own here
    refusal: Schema | None = None  # of these; None: an error in the dialect's form


def _parameter(where: str, name: str, schema: Schema, description: str) -> Schema:
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "schema": schema,
        "description": description,
    }


_NAME: Schema = {"type": "string", "minLength": 1}
_NODE = _parameter("path", "name", _NAME, "A node's name or id; a slash in it percent-encoded.")
_MODEL = _parameter("path", "model", openapi_schemas.MODEL, "A model's name, as it is or percent-encoded.")
_DIGEST = _parameter("path", "digest", {"type": "string", "pattern": "^sha256[:-][0-9a-fA-F]{64}$"}, "Of the bytes.")
_LIMITS: Schema = {"type": "integer", "minimum": 1, "maximum": stories.KEPT, "default": stories.DEFAULT_LIMIT}
_LIMIT = _parameter("query", "limit", _LIMITS, "How many.")
_TOPICS: Schema = {
    "type": "string",
    "default": Topic.STATUS,
    "pattern": "^({0})(,({0}))*$".format("|".join(Topic)),
}
_WHERE = _parameter("query", "node", _NAME, "The node that it is for, by name or id.")


def _progress(summary: str, body: Schema, *query: Schema) -> Operation:
    """Ollama tells of it line by line, or in one object."""
    streams = openapi_schemas.STREAM_TYPES[Dialect.OLLAMA]
    return Operation(summary, openapi_schemas.PROGRESS, streams=streams, body=body, query=query)


_LISTS = {
    "ollama.root": Operation("Tells that an Ollama is there.", {"const": "Ollama is running"}, _TEXT),
    "ollama.version": Operation("The lowest version of the fleet's Ollamas.", openapi_schemas.VERSION),
    "ollama.tags": Operation("The models of all nodes.", openapi_schemas.TAGS),
    "ollama.ps": Operation("The models in memory of any node.", openapi_schemas.PROCESSES),
    "ollama.status": Operation("Says that there is no way to ollama.com.", openapi_schemas.CLOUD),
    "openai.models": Operation("The models of all nodes, in OpenAI's form.", openapi_schemas.OPENAI_MODELS),
}
_MODELS = {
    "ollama.show": Operation("Describes a model.", openapi_schemas.SHOWN, body=openapi_schemas.SHOW),
    "ollama.pull": _progress("Fetches a model to the node that suits best.", openapi_schemas.PULL, _WHERE),
    "ollama.push": _progress("Publishes a model, from a node that has it.", openapi_schemas.PULL),
    "ollama.create": _progress("Makes a model of others, or of uploaded parts.", openapi_schemas.CREATE, _WHERE),
    "ollama.copy": Operation("Gives a model a second name, on every node that has it.", body=openapi_schemas.COPY),
    "ollama.delete": Operation("Deletes a model, on every node that has it.", body=openapi_schemas.DELETE),
    "openai.model": Operation("One model, in OpenAI's form.", openapi_schemas.OPENAI_MODEL, tail=(_MODEL,)),
}
_UPLOADS = {
    "ollama.blobs": Operation(
        "Uploads a part of a model to be made, or asks whether it is there.",
        body={},
        body_type="application/octet-stream",
        status=201,
        tail=(_DIGEST,),
        query=(_WHERE,),
    ),
}
_PAGE = {
    name: Operation(f"A file of the web page: {file}.", {"type": "string"}, content_type(file).partition(";")[0])
    for name, file in FILES.items()
}
_HERD = {
    "herd.info": Operation("Who the router is.", "InfoDocument"),
    "herd.status": Operation("How the fleet stands.", "StatusDocument"),
    "herd.events": Operation(
        "What changes, as it changes.",
        {"type": "string"},
        "text/event-stream",
        query=(_parameter("query", "topics", _TOPICS, f"Comma-separated, of: {', '.join(Topic)}."),),
        refusals=(400, 503),
    ),
    "herd.logs": Operation("The latest lines of the router's log.", "Log", query=(_LIMIT,), refusals=(400,)),
    "herd.node": Operation("One node, and what was learned of it.", "NodeDocument", tail=(_NODE,), refusals=(404,)),
    "herd.order": Operation(
        "Has a node take nothing new, for some time or until it is resumed.",
        "NodeEntry",
        body=openapi_schemas.PAUSE,
        body_required=False,
        tail=(_NODE, _parameter("path", "order", {"enum": list(ORDERS)}, "What the node is told.")),
        query=(_parameter("query", "for", {"type": "string"}, "How long a pause lasts: `30m`, `2h`."),),
        refusals=(400, 404),
    ),
    "herd.requests": Operation(
        "The latest requests, those under way first.",
        "Requests",
        query=(_LIMIT,),
        refusals=(400,),
    ),
    "herd.story": Operation(
        "The life of one request.",
        "Story",
        tail=(_parameter("path", "id", _NAME, "A request's id, as it is or percent-encoded."),),
        refusals=(404,),
    ),
    "herd.pins": Operation("Keeps a model loaded, or lets it go.", "PinDocument", tail=(_MODEL,), refusals=(404, 409)),
    "herd.healthz": Operation("Whether the process lives.", openapi_schemas.HEALTH),
    "herd.readyz": Operation(
        "Whether a node can serve a model now.",
        openapi_schemas.HEALTH,
        refusals=(503,),
        refusal=openapi_schemas.HEALTH,
    ),
    "herd.metrics": Operation("What the router counts and measures, for Prometheus.", {"type": "string"}, _TEXT),
    "herd.openapi": Operation("This description.", {"type": "object"}),
}

OPERATIONS = _LISTS | _MODELS | _UPLOADS | _PAGE | _HERD

_REQUEST_HEADERS = (
    _parameter("header", "X-Herd-Session", {"type": "string"}, "Requests of one session prefer one node."),
    _parameter("header", "X-Herd-Priority", {"enum": list(Priority)}, "`batch` waits for `interactive`, the default."),
    _parameter("header", "X-Request-Id", {"type": "string"}, "The request's id, kept where it is fit for one."),
)
_ANSWER_HEADERS = {
    "X-Request-Id": "The id of the request.",
    "X-Herd-Node": "The node that served it.",
    "X-Herd-Model": "The model that served it, as the node lists it.",
    "X-Herd-Score": "Of the node, when it was placed there.",
    "X-Herd-Queue-Ms": "Milliseconds in all queues together.",
    "X-Herd-Attempts": "How often it was sent to a node.",
    "X-Herd-Parts": "In how many parts a batch was served; only where it was.",
    "X-Herd-Placed-Ms": "Milliseconds until it was placed.",
    "X-Herd-Predicted-Ms": "Milliseconds from then on that were predicted.",
    "X-Herd-Edited": "Fields that were changed on the way.",
    "X-Herd-Estimated": "What of the answer is a guess of the router's.",
}
_MODEL_HEADERS = {
    "X-Request-Id": "The id of the request.",
    "X-Herd-Node": "The nodes that answered.",
    "X-Herd-Missed": "Nodes that it has not reached.",
}
_ID = {"X-Request-Id": "The id of the request."}
# Needed where the router has keys, and by whoever is not on its own machine.
_KEYS: Schema = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


@cache
def document(version: str) -> bytes:
    """The description as JSON. `version` is Herd's."""
    paths: dict[str, dict[str, Schema]] = {}
    for endpoint in ENDPOINTS:
        for method in endpoint.methods:
            paths.setdefault(template(endpoint), {})[method.lower()] = _operation(endpoint, method)
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Herd",
                "version": version,
                "description": "One URL for a fleet of model servers. What is no form is read as JSON.",
                "license": {"name": "MIT", "identifier": "MIT"},
            },
            "servers": [{"url": "/"}],
            "paths": paths,
            "components": {"schemas": _components(), "securitySchemes": _KEYS},
            "security": [{}, *({name: []} for name in _KEYS)],
        }
    )


def template(endpoint: Endpoint) -> str:
    """The endpoint's path with its parameters in braces."""
    if endpoint.kind is EndpointKind.INFERENCE:
        return endpoint.path
    return endpoint.path + "/".join(f"{{{part['name']}}}" for part in OPERATIONS[endpoint.name].tail)


def _operation(endpoint: Endpoint, method: str) -> Schema:
    inference = endpoint.kind is EndpointKind.INFERENCE
    described = _asking(endpoint.api) if inference else OPERATIONS[endpoint.name]
    made: Schema = {
        "operationId": endpoint.name if method == endpoint.methods[0] else f"{endpoint.name}.{method.lower()}",
        "summary": described.summary,
        "tags": [endpoint.kind],
        "parameters": [*described.tail, *described.query, *(_REQUEST_HEADERS if inference else ())],
        "responses": dict(_responses(endpoint, method, described)),
    }
    bodies = {described.body_type: described.body, FORM: described.form}
    content = {kind: {"schema": schema} for kind, schema in bodies.items() if schema is not None}
    if content and method not in {"GET", "HEAD"}:
        made["requestBody"] = {"required": described.body_required, "content": content}
    return made


def _asking(api: Api) -> Operation:
    own = api in OF_HERD
    return Operation(
        "Asks a model on the node that suits best" + ("." if own else f"; as {api.dialect.capitalize()} does."),
        openapi_schemas.ANSWERED[api],
        openapi_schemas.ANSWER_TYPES.get(api, _JSON),
        streams=None if api in openapi_schemas.UNSTREAMED else openapi_schemas.STREAM_TYPES[api.dialect],
        body=openapi_schemas.ASKED.get(api),
        form=openapi_schemas.UPLOADED.get(api),
    )


def _responses(endpoint: Endpoint, method: str, described: Operation) -> Iterator[tuple[str, Schema]]:
    headers = {EndpointKind.INFERENCE: _ANSWER_HEADERS, EndpointKind.MODELS: _MODEL_HEADERS}.get(endpoint.kind, _ID)
    content: Schema = {}
    if described.answer is not None and method != "HEAD":
        content[described.answer_type] = {"schema": _schema(described.answer)}
    if described.streams is not None:
        content[described.streams] = {"schema": {"type": "string"}}
    status = described.status if method == "POST" else 200
    yield str(status), _response("What was asked for.", content, headers)
    error: Schema = {} if method == "HEAD" else {_JSON: {"schema": _schema(_error_name(endpoint.dialect))}}
    told = error if described.refusal is None else {_JSON: {"schema": described.refusal}}
    changed_elsewhere = (403,) if endpoint.changed_by(method) else ()
    for refusal in (*described.refusals, *changed_elsewhere):
        yield str(refusal), _response(HTTPStatus(refusal).phrase, told, _ID)
    yield "default", _response("Why not.", error, _ID)


def _response(description: str, content: Schema, headers: dict[str, str]) -> Schema:
    shown = {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
    made: Schema = {"description": description, "headers": shown}
    return made | {"content": content} if content else made


def _error_name(dialect: Dialect) -> str:
    return f"{dialect.capitalize()}Error"


def _schema(answer: Schema | str) -> Schema:
    return {"$ref": _REF.format(name=answer)} if isinstance(answer, str) else answer


def _components() -> dict[str, Schema]:
    """Schemas that have a name: those of Herd's own documents, and of errors."""
    documents = (herd_api.InfoDocument, herd_api.StatusDocument, herd_api.NodeDocument, herd_api.PinDocument)
    events: tuple[Any, ...] = get_args(stories.Event)
    described = [*documents, stories.RequestEntry, LogLine, *events]
    _, made = msgspec.json.schema_components(described, ref_template=_REF)
    for schema in made.values():
        _always_there(schema)
    made |= {_error_name(dialect): schema for dialect, schema in openapi_schemas.ERRORS.items()}
    entry, kinds = _schema("RequestEntry"), [_schema(event.__name__) for event in events]
    told = openapi_schemas.shape(("events",), events={"type": "array", "items": {"oneOf": kinds}})
    made["Story"] = {"allOf": [entry, told]}
    made["Requests"] = openapi_schemas.shape(("requests",), requests={"type": "array", "items": entry})
    made["Log"] = openapi_schemas.shape(("lines",), lines={"type": "array", "items": _schema("LogLine")})
    return made


def _always_there(schema: Schema) -> None:
    """A field with a default may be left out of what is read; what is written has them all."""
    properties: dict[str, Schema] = schema.get("properties", {})
    defaulted = [name for name, part in properties.items() if "default" in part]
    for name in defaulted:
        del properties[name]["default"]
    schema["required"] = [*schema.get("required", ()), *defaulted]
