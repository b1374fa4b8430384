"""Requests as clients send them, and as no client should: bodies for every endpoint, valid and not."""

from typing import Any

import orjson
from hypothesis import strategies as st

from herd.errors import RequestError
from herd.protocols.paths import find
from tests.differential.pair import MODELS, Call

Json = Any

PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

words = st.sampled_from(["Why?", "Say <b>&</b>.", "Grüße, 世界", "a\n\tb", "", " ", "\u2028", "one two three " * 20])
junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.5, 1e300, 2**63, "", "x", [], {}, [1], {"a": 1}, [[]], [None]]),
)
models = st.sampled_from([*MODELS, "LLAMA3.2:3B", " llama3.2:3b ", "library/llama3.2:3b", "nomic-embed-text"])
strangers = st.sampled_from(["unknown:1b", "unknown", "", " ", "bad name", "a:b:c", "x/y/z/w", "http://x", "../x", "-"])
bounds = st.integers(1, 12)  # of tokens in the answer
schemas = st.sampled_from(
    [
        {"type": "object", "properties": {"city": {"type": "string"}, "n": {"type": "integer"}}, "required": ["city"]},
        {"type": "array", "items": {"type": "boolean"}},
        {},
    ]
)
functions = st.sampled_from(
    [
        {
            "name": "weather",
            "description": "tells",
            "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
        },
        {"name": "clock", "parameters": {"type": "object", "properties": {}}},
    ]
)
tools = st.lists(st.fixed_dictionaries({"type": st.just("function"), "function": functions}), max_size=2)


def some(always: dict[str, st.SearchStrategy[Json]], **maybe: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    """An object with its usual fields, and others now and then."""
    return st.fixed_dictionaries(always, optional=maybe)


# --- Ollama's own API -------------------------------------------------------------------------------------------------

roles = st.sampled_from(["user", "assistant", "system", "tool", "USER", "other"])
keep_alives = st.sampled_from([5, -1, "5m", "-1m", "1h30m", 0.5])
formats = st.one_of(st.just("json"), st.just(""), st.just("xml"), schemas)
thinks = st.sampled_from([True, False, "high", "low", "max", None])
options = st.fixed_dictionaries(
    {"num_predict": bounds},
    optional={
        "temperature": st.floats(0, 2),
        "top_k": st.integers(0, 100),
        "seed": st.integers(0, 9),
        "stop": st.lists(words, max_size=2),
        "num_gpu": st.integers(-1, 3),
        "made_up": junk,
    },
)
calls_made = st.lists(
    st.just({"function": {"name": "weather", "arguments": {"b": 1, "a": {"z": 1, "y": 2}}}}), max_size=1
)
messages = st.lists(
    some({"role": roles, "content": words}, images=st.just([PICTURE]), tool_calls=calls_made, thinking=words),
    max_size=3,
)
chat = some(
    {"model": models, "messages": messages, "options": options, "stream": st.booleans()},
    tools=tools,
    format=formats,
    think=thinks,
    keep_alive=keep_alives,
    truncate=st.booleans(),
)
generate = some(
    {"model": models, "prompt": words, "options": options, "stream": st.booleans()},
    suffix=words,
    system=words,
    template=words,
    raw=st.booleans(),
    images=st.just([PICTURE]),
    format=formats,
    think=thinks,
    keep_alive=keep_alives,
    context=st.just([1, 2, 3]),
)
embed = some(
    {"model": models, "input": st.one_of(words, st.lists(words, max_size=3))},
    truncate=st.booleans(),
    dimensions=st.integers(-1, 1000),
    keep_alive=keep_alives,
    options=options,
)
embeddings = some({"model": models, "prompt": words}, keep_alive=keep_alives, options=options)

# --- OpenAI's ---------------------------------------------------------------------------------------------------------

parts = st.sampled_from(
    [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
    ]
)
openai_calls = st.just([{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"b":1}'}}])
openai_messages = st.lists(
    some({"role": roles, "content": st.one_of(words, st.lists(parts, max_size=2))}, tool_calls=openai_calls),
    min_size=1,
    max_size=3,
)
efforts = st.sampled_from(["none", "low", "high"])
completions_chat = some(
    {"model": models, "messages": openai_messages, "max_tokens": bounds, "stream": st.booleans()},
    tools=tools,
    stream_options=st.just({"include_usage": True}),
    response_format=st.one_of(
        st.just({"type": "json_object"}),
        st.builds(lambda schema: {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}, schemas),
    ),
    temperature=st.floats(0, 2),
    seed=st.integers(0, 9),
    stop=st.one_of(words, st.lists(words, max_size=2)),
    reasoning_effort=efforts,
    tool_choice=st.just("auto"),
    n=st.integers(1, 3),
    user=words,
)
completions = some(
    {"model": models, "prompt": words, "max_tokens": bounds, "stream": st.booleans()},
    suffix=words,
    stream_options=st.just({"include_usage": True}),
    echo=st.booleans(),
    stop=words,
)
openai_embeddings = some(
    {"model": models, "input": st.one_of(words, st.lists(words, min_size=1, max_size=3))},
    encoding_format=st.sampled_from(["float", "base64"]),
    dimensions=st.integers(-1, 1000),
)
items = st.one_of(
    some({"role": roles, "content": words}, type=st.just("message")),
    st.just({"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}),
    st.just({"type": "function_call_output", "call_id": "c1", "output": "rain"}),
)
responses = some(
    {
        "model": models,
        "input": st.one_of(words, st.lists(items, max_size=3)),
        "max_output_tokens": bounds,
        "stream": st.booleans(),
    },
    instructions=words,
    tools=st.lists(st.builds(lambda made: {"type": "function", **made}, functions), max_size=2),
    reasoning=st.builds(lambda effort: {"effort": effort}, efforts),
    text=st.builds(lambda schema: {"format": {"type": "json_schema", "name": "s", "schema": schema}}, schemas),
)

# --- Anthropic's ------------------------------------------------------------------------------------------------------

blocks = st.sampled_from(
    [
        {"type": "text", "text": "Hello"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}},
        {"type": "tool_use", "id": "t1", "name": "weather", "input": {"b": 1}},
        {"type": "tool_result", "tool_use_id": "t1", "content": "rain"},
    ]
)
anthropic_messages = st.lists(
    some({"role": roles, "content": st.one_of(words, st.lists(blocks, max_size=3))}), min_size=1, max_size=3
)
anthropic = some(
    {"model": models, "messages": anthropic_messages, "max_tokens": bounds, "stream": st.booleans()},
    system=st.one_of(words, st.just([{"type": "text", "text": "Be brief"}])),
    tools=st.lists(
        st.builds(lambda made: {"name": made["name"], "input_schema": made["parameters"]}, functions), max_size=2
    ),
    thinking=st.just({"type": "enabled", "budget_tokens": 1024}),
    stop_sequences=st.lists(words, max_size=2),
    temperature=st.floats(0, 1),
)

show = some({"model": models}, name=models, verbose=st.booleans())

BODIES: dict[str, st.SearchStrategy[Json]] = {
    "/api/chat": chat,
    "/api/generate": generate,
    "/api/embed": embed,
    "/api/embeddings": embeddings,
    "/api/show": show,
    "/v1/chat/completions": completions_chat,
    "/v1/completions": completions,
    "/v1/embeddings": openai_embeddings,
    "/v1/responses": responses,
    "/v1/messages": anthropic,
}

# Fields that each make a sound request one that Ollama refuses, or takes in a way of its own.
ODDITIES: dict[str, list[dict[str, Json]]] = {
    "/api/chat": [{"think": "lots"}, {"format": "xml"}, {"keep_alive": "1d"}, {"options": {"num_ctx": "x"}}],
    "/api/generate": [{"think": "lots"}, {"raw": True, "system": "x"}, {"keep_alive": "-1"}, {"prompt": ""}],
    "/api/embed": [{"input": [1, 2]}, {"input": {}}, {"keep_alive": "x"}],
    "/api/embeddings": [{"options": {"num_ctx": []}}],
    "/api/show": [{"model": "", "name": "gemma3:4b"}],
    "/v1/chat/completions": [
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/a.png"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "made_up"}]}]},
        {"reasoning_effort": "enormous"},
        {"response_format": {"type": "made_up"}},
        {"messages": []},
    ],
    "/v1/completions": [{"prompt": ["a", "b"]}, {"prompt": [1, 2]}, {"logprobs": 3}],
    "/v1/embeddings": [{"encoding_format": "hex"}, {"input": [1, 2]}, {"input": [[1], [2]]}, {"input": None}],
    "/v1/responses": [{"input": [{"type": "made_up"}]}, {"reasoning": {"effort": "enormous"}}, {"input": 5}],
    "/v1/messages": [
        {"messages": [{"role": "user", "content": [{"type": "made_up"}]}]},
        {"max_tokens": 0},
        {"messages": []},
        {"messages": [{"role": "system", "content": "x"}]},
    ],
}

# What is wrong with the bytes themselves.
_BROKEN = (b"", b" \n", b"null", b"[]", b'"x"', b"{", b'{"model"', b"nul", b"{]", b"\xff\xfe", b"{'model':1}")


def _places(document: Json, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a document a value can be another one."""
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [place for key, value in inner for place in ((*at, key), *_places(value, (*at, key)))]


@st.composite
def faulty(draw: st.DrawFn, document: Json) -> Json:
    """The document with one thing wrong: of two, which one a server names first is its own affair."""
    fault = draw(st.sampled_from(["stranger", "junk", "junk", "junk", "missing"]))
    if fault == "stranger":
        return document | {"model": draw(strangers)}
    document = orjson.loads(orjson.dumps(document))  # values drawn twice are one object
    *way, last = draw(st.sampled_from(_places(document)))
    holder = document
    for step in way:
        holder = holder[step]
    if fault == "missing":
        del holder[last]
    else:
        holder[last] = draw(junk)
    return document


@st.composite
def written(draw: st.DrawFn, document: Json) -> bytes:
    """A document as bytes, with what decoders disagree about."""
    body = orjson.dumps(document)
    match draw(st.sampled_from(["spaced", "trailing", "upper", "twice", "cut", "broken"])):
        case "spaced":
            return orjson.dumps(document, option=orjson.OPT_INDENT_2)
        case "trailing":
            return body + draw(st.sampled_from([b" x", b"{}", b"\n\n", b",", b"\x00"]))
        case "upper":
            return body.replace(b'"model"', b'"Model"').replace(b'"stream"', b'"STREAM"')
        case "twice":
            return body.replace(b'{"model":', b'{"model":"other","model":', 1)
        case "cut":
            return body[: draw(st.integers(0, len(body) - 1))]
    return draw(st.sampled_from(_BROKEN))


content_types = st.sampled_from(
    [
        (("Content-Type", "application/json"),),
        (),
        (("Content-Type", "application/x-www-form-urlencoded"),),
        (("Content-Type", "text/plain; charset=utf-8"),),
    ]
)


@st.composite
def asked(draw: st.DrawFn, path: str) -> Call:
    """A request to one endpoint: sound, or with one thing wrong in what it says or in how it is written."""
    document = draw(BODIES[path])
    match draw(st.sampled_from(["sound", "sound", "odd", "faulty", "faulty", "written"])):
        case "odd":
            body = orjson.dumps(document | draw(st.sampled_from(ODDITIES[path])))
        case "faulty":
            body = orjson.dumps(draw(faulty(document)))
        case "written":
            body = draw(written(document))
        case _:
            body = orjson.dumps(document)
    return Call("POST", path, body, draw(content_types))


# --- Everything but a question ----------------------------------------------------------------------------------------

ORIGINS = (
    *("http://localhost:3000", "https://127.0.0.1", "http://0.0.0.0:8080", "app://obsidian.md", "file://"),
    *("tauri://localhost", "vscode-webview://abc", "chrome-extension://abc", "null", "https://example.com"),
    *("http://localhost.example.com", "http://127.0.0.1.example.com:80", "http://localhost:3000/path", "localhost"),
)
PATHS = (
    *("/", "/api/version", "/api/tags", "/api/ps", "/api/status", "/v1/models", *BODIES),
    *("/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete"),
    *("/v1/models/llama3.2:3b", "/v1/models/LLAMA3.2:3B", "/v1/models/unknown", "/api", "/v1", "/nothing"),
    *(f"/api/blobs/sha256:{'0' * 64}", "/api/blobs/sha256:short", "/api/blobs/", "/api/blobs/md5:x"),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def changes(method: str, path: str) -> bool:
    """Whether it changes the fleet, which Ollama lets pages do, and the router only its own."""
    try:
        return find(method, path).changed_by(method)
    except RequestError:
        return False


@st.composite
def looked_up(draw: st.DrawFn) -> Call:
    """A request without a body: any method, any path, from any page that may ask for it."""
    method, path = draw(st.sampled_from(METHODS)), draw(st.sampled_from(PATHS))
    headers: tuple[tuple[str, str], ...] = ()
    if draw(st.booleans()) and not changes(method, path):
        headers = (("Origin", draw(st.sampled_from(ORIGINS))),)
        if method == "OPTIONS":
            headers += (("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "content-type"))
    return Call(method, path, b"", headers)
