"""Which endpoint a method and a path mean.

The table is the router's whole HTTP surface. What is not in it is answered as Ollama answers, in plain text.
"""

from dataclasses import dataclass
from enum import StrEnum
from re import ASCII
from re import compile as pattern
from urllib.parse import unquote

from herd.errors import RequestError
from herd.protocols.web_page import FILES
from herd.types import Api, Dialect


class EndpointKind(StrEnum):
    """Who answers."""

    INFERENCE = "inference"  # a node that has the model
    ANSWERED = "answered"  # the router, from what the nodes reported
    HERD = "herd"  # the router, about itself
    WATCHED = "watched"  # the router, about itself, for as long as somebody watches
    CONTROL = "control"  # the router, which does as it is told, if it may be
    BLOB = "blob"  # the node that keeps the parts of models to be made
    MODELS = "models"  # the nodes that have a model, or are to have it: it is shown, fetched, made, copied, deleted
    PAGE = "page"  # the router, with a file of its web page


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of the table. `name` is what the handlers' tables are keyed by."""

    name: str
    path: str
    methods: tuple[str, ...]  # in the order of the `Allow` header
    dialect: Dialect
    kind: EndpointKind
    changes: bool = False  # the fleet, or what is on its disks: not everybody may

    @property
    def api(self) -> Api:
        """What it asks of a model; of an inference endpoint only."""
        return _APIS[self.path]

    def changed_by(self, method: str) -> bool:
        """Whether a request with this method changes something, beyond having a model answer."""
        return self.changes and method not in _GET_HEAD


_APIS = {str(api): api for api in Api}  # a tenth of what `Api(path)` takes, which is asked for several times a request
_POST = ("POST",)
_GET = ("GET",)
_GET_HEAD = ("GET", "HEAD")


def _page(name: str, file: str) -> Endpoint:
    path = "/herd" if file == "index.html" else f"/herd/{file}"
    return Endpoint(name, path, _GET_HEAD, Dialect.OLLAMA, EndpointKind.PAGE)


ENDPOINTS = (
    Endpoint("openai.chat", "/v1/chat/completions", _POST, Dialect.OPENAI, EndpointKind.INFERENCE),
    Endpoint("ollama.chat", "/api/chat", _POST, Dialect.OLLAMA, EndpointKind.INFERENCE),
    Endpoint("ollama.generate", "/api/generate", _POST, Dialect.OLLAMA, EndpointKind.INFERENCE),
    Endpoint("ollama.embed", "/api/embed", _POST, Dialect.OLLAMA, EndpointKind.INFERENCE),
    Endpoint("ollama.embeddings", "/api/embeddings", _POST, Dialect.OLLAMA, EndpointKind.INFERENCE),
    Endpoint("openai.completions", "/v1/completions", _POST, Dialect.OPENAI, EndpointKind.INFERENCE),
    Endpoint("openai.embeddings", "/v1/embeddings", _POST, Dialect.OPENAI, EndpointKind.INFERENCE),
    Endpoint("openai.responses", "/v1/responses", _POST, Dialect.OPENAI, EndpointKind.INFERENCE),
    Endpoint("anthropic.messages", "/v1/messages", _POST, Dialect.ANTHROPIC, EndpointKind.INFERENCE),
    Endpoint("anthropic.count", "/v1/messages/count_tokens", _POST, Dialect.ANTHROPIC, EndpointKind.INFERENCE),
    Endpoint("openai.images", "/v1/images/generations", _POST, Dialect.OPENAI, EndpointKind.INFERENCE),
    Endpoint("openai.image_edits", "/v1/images/edits", _POST, Dialect.OPENAI, EndpointKind.INFERENCE),
    Endpoint("openai.transcriptions", "/v1/audio/transcriptions", _POST, Dialect.OPENAI, EndpointKind.INFERENCE),
    Endpoint("media.generate_image", "/api/generate-image", _POST, Dialect.OLLAMA, EndpointKind.INFERENCE),
    Endpoint("media.transcribe", "/api/transcribe", _POST, Dialect.OLLAMA, EndpointKind.INFERENCE),
    Endpoint("ollama.blobs", "/api/blobs/", ("POST", "HEAD"), Dialect.OLLAMA, EndpointKind.BLOB, changes=True),
    Endpoint("ollama.show", "/api/show", _POST, Dialect.OLLAMA, EndpointKind.MODELS),
    Endpoint("ollama.pull", "/api/pull", _POST, Dialect.OLLAMA, EndpointKind.MODELS, changes=True),
    Endpoint("ollama.push", "/api/push", _POST, Dialect.OLLAMA, EndpointKind.MODELS, changes=True),
    Endpoint("ollama.create", "/api/create", _POST, Dialect.OLLAMA, EndpointKind.MODELS, changes=True),
    Endpoint("ollama.copy", "/api/copy", _POST, Dialect.OLLAMA, EndpointKind.MODELS, changes=True),
    Endpoint("ollama.delete", "/api/delete", ("DELETE",), Dialect.OLLAMA, EndpointKind.MODELS, changes=True),
    Endpoint("ollama.root", "/", _GET_HEAD, Dialect.OLLAMA, EndpointKind.ANSWERED),
    Endpoint("ollama.version", "/api/version", _GET_HEAD, Dialect.OLLAMA, EndpointKind.ANSWERED),
    Endpoint("ollama.status", "/api/status", _GET, Dialect.OLLAMA, EndpointKind.ANSWERED),
    Endpoint("ollama.tags", "/api/tags", _GET_HEAD, Dialect.OLLAMA, EndpointKind.ANSWERED),
    Endpoint("ollama.ps", "/api/ps", _GET, Dialect.OLLAMA, EndpointKind.ANSWERED),
    Endpoint("openai.models", "/v1/models", _GET, Dialect.OPENAI, EndpointKind.ANSWERED),
    Endpoint("openai.model", "/v1/models/", _GET, Dialect.OPENAI, EndpointKind.MODELS),
    Endpoint("herd.info", "/herd/v1/info", _GET, Dialect.OLLAMA, EndpointKind.HERD),
    Endpoint("herd.openapi", "/herd/v1/openapi.json", _GET, Dialect.OLLAMA, EndpointKind.HERD),
    Endpoint("herd.status", "/herd/v1/status", _GET, Dialect.OLLAMA, EndpointKind.HERD),
    Endpoint("herd.events", "/herd/v1/events", _GET, Dialect.OLLAMA, EndpointKind.WATCHED),
    Endpoint("herd.logs", "/herd/v1/logs", _GET, Dialect.OLLAMA, EndpointKind.HERD),
    Endpoint("herd.node", "/herd/v1/nodes/", _GET, Dialect.OLLAMA, EndpointKind.HERD),
    Endpoint("herd.order", "/herd/v1/nodes/", _POST, Dialect.OLLAMA, EndpointKind.CONTROL, changes=True),
    Endpoint("herd.requests", "/herd/v1/requests", _GET, Dialect.OLLAMA, EndpointKind.HERD),
    Endpoint("herd.story", "/herd/v1/requests/", _GET, Dialect.OLLAMA, EndpointKind.HERD),
    Endpoint("herd.pins", "/herd/v1/pins/", ("POST", "DELETE"), Dialect.OLLAMA, EndpointKind.HERD, changes=True),
    *(_page(name, file) for name, file in FILES.items()),
    Endpoint("herd.healthz", "/healthz", _GET, Dialect.OLLAMA, EndpointKind.HERD),
    Endpoint("herd.readyz", "/readyz", _GET, Dialect.OLLAMA, EndpointKind.HERD),
    Endpoint("herd.metrics", "/metrics", _GET, Dialect.OLLAMA, EndpointKind.HERD),
)

_BY_PATH = {endpoint.path: endpoint for endpoint in ENDPOINTS if endpoint.path == "/" or endpoint.path[-1] != "/"}
_BLOBS = next(endpoint for endpoint in ENDPOINTS if endpoint.kind is EndpointKind.BLOB)  # its path goes on
_STORY = next(endpoint for endpoint in ENDPOINTS if endpoint.name == "herd.story")  # its path goes on, with slashes too
_PINS = next(endpoint for endpoint in ENDPOINTS if endpoint.name == "herd.pins")  # as does its
_MODEL = next(endpoint for endpoint in ENDPOINTS if endpoint.name == "openai.model")  # and its: names hold slashes
_NODE = next(endpoint for endpoint in ENDPOINTS if endpoint.name == "herd.node")  # and its
_ORDER = next(endpoint for endpoint in ENDPOINTS if endpoint.name == "herd.order")  # its path names a node, and a word
# After these a model server lists other models than before.
LISTED_ANEW = ("/api/pull", "/api/create", "/api/copy", "/api/delete")
ORDERS = ("drain", "resume", "pause")
_BLOB = pattern(r"/api/blobs/sha256[:-][0-9a-fA-F]{64}", ASCII)  # the digest as Ollama's `manifest.BlobsPath` has it


def find(method: str, path: str) -> Endpoint:
    """The endpoint that `method` and `path` (as sent, without the query) mean.

    Raises:
        RequestError: 404 or 405 in Ollama's words. No endpoint means no dialect: `answers.error_answer(None, error)`
            renders it as the plain text that Ollama sends.
    """
    # Nearly every request has the table's own spelling; only the others are cleaned.
    endpoint = _BY_PATH.get(path) or _cleaned(path)
    if endpoint is None:
        raise RequestError("404 page not found", status=404)
    if method not in endpoint.methods:
        raise RequestError("405 method not allowed", status=405, headers=(("Allow", ", ".join(endpoint.methods)),))
    return endpoint


def blob_target(path: str) -> str:
    """The clean path of a blob, from the one that was sent. Raises RequestError in Ollama's words: it names none."""
    target = normalised(path)
    if not _BLOB.fullmatch(target):
        raise RequestError("invalid digest format")
    return target


def story_id(path: str) -> str:
    """The request id at the end of a story's path, decoded; empty when the path is none.

    Ids hold slashes and dots. Where they are percent-encoded nothing in them is cleaned.
    """
    return _tail(_STORY, path)


def pinned_model(path: str) -> str:
    """The model at the end of a pin's path, decoded as `story_id` does it; empty when the path is none."""
    return _tail(_PINS, path)


def shown_model(path: str) -> str:
    """The model at the end of its path, decoded as `story_id` does it; empty when the path is none."""
    return _tail(_MODEL, path)


def shown_node(path: str) -> str:
    """The node at the end of its path, decoded; empty when the path is none. A slash in a name is percent-encoded."""
    clean = _joined(path)
    name = clean.removeprefix(_NODE.path)
    return unquote(name) if clean.startswith(_NODE.path) and "/" not in name else ""


def _tail(endpoint: Endpoint, path: str) -> str:
    clean = _joined(path)
    return unquote(clean.removeprefix(endpoint.path)) if clean.startswith(endpoint.path) else ""


def node_order(path: str) -> tuple[str, str] | None:
    """The name of the node, decoded, and what it is told, in the path of a control endpoint; None when it is none.

    Where a name is percent-encoded nothing in it is cleaned.
    """
    clean = _joined(path)
    name, _, order = clean.removeprefix(_ORDER.path).rpartition("/")
    return (unquote(name), order) if clean.startswith(_ORDER.path) and name and order in ORDERS else None


def _cleaned(path: str) -> Endpoint | None:
    if node_order(path) is not None:
        return _ORDER
    if shown_node(path):
        return _NODE
    for endpoint in (_STORY, _PINS, _MODEL):
        if _tail(endpoint, path):
            return endpoint
    path = normalised(path)
    parent, _, name = path.rpartition("/")
    return _BLOBS if name and parent + "/" == _BLOBS.path else _BY_PATH.get(path)


def normalised(path: str) -> str:
    """The path as Go's mux cleans it: decoded, no empty or dot segments, no trailing slash.

    Ollama redirects to the cleaned path; serving it directly spares clients that would turn a POST into a GET.
    """
    return _joined(unquote(path))


def _joined(path: str) -> str:
    """Without empty and dot segments, and without a trailing slash."""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in {"", "."}:
            segments.append(segment)
    return "/" + "/".join(segments)
