import mmap
import tempfile
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.errors import RequestError
from herd.protocols import body_fields
from herd.protocols.paths import ENDPOINTS, Endpoint, EndpointKind, find
from herd.protocols.requests import Routing, read_request
from herd.types import Capability
from tests.protocols.forms import FORMS_ONLY

OPENAI_CHAT = find("POST", "/v1/chat/completions")
CHAT = find("POST", "/api/chat")
GENERATE = find("POST", "/api/generate")
EMBED = find("POST", "/api/embed")
OLD_EMBEDDINGS = find("POST", "/api/embeddings")
COMPLETIONS = find("POST", "/v1/completions")
EMBEDDINGS = find("POST", "/v1/embeddings")
RESPONSES = find("POST", "/v1/responses")
MESSAGES = find("POST", "/v1/messages")
COUNT = find("POST", "/v1/messages/count_tokens")
IMAGES = find("POST", "/v1/images/generations")
EDITS = find("POST", "/v1/images/edits")
GENERATE_IMAGE = find("POST", "/api/generate-image")
INFERENCE = [one for one in ENDPOINTS if one.kind is EndpointKind.INFERENCE and one.api not in FORMS_ONLY]

HELLO = [{"role": "user", "content": "hello"}]
BIG = "x" * body_fields.PARSE_LIMIT  # makes a body that is scanned, not parsed


def refusal(endpoint: Endpoint, body: bytes) -> tuple[int, str]:
    with pytest.raises(RequestError) as caught:
        read_request(endpoint, body)
    return caught.value.status, str(caught.value)


def both_ways(endpoint: Endpoint, fields: dict[str, Any]) -> Routing:
    """Read as a short body, and, which must not matter, as one with something after it, which is scanned."""
    body = orjson.dumps(fields)
    routing = read_request(endpoint, body)
    scanned = read_request(endpoint, body + b"}")
    assert abs(scanned.prompt_tokens - routing.prompt_tokens) <= 20  # what stands around attachments
    assert scanned == replace(routing, prompt_tokens=scanned.prompt_tokens, conversation="", continues=False)
    return routing


@pytest.mark.parametrize(
    ("endpoint", "body", "expected"),
    [
        (GENERATE, b"", (400, "missing request body")),
        (CHAT, b" \n", (400, "missing request body")),
        (OPENAI_CHAT, b"", (400, "EOF")),
        (CHAT, b"{", (400, "unexpected EOF")),
        (OPENAI_CHAT, b"model=x", (400, "invalid character 'm' looking for beginning of value")),
        (GENERATE, b"{}", (404, "model '' not found")),
        (GENERATE, b'{"model":" "}', (404, "model '' not found")),
        (CHAT, b"{}", (400, "model is required")),
        (CHAT, b"null", (400, "model is required")),
        (CHAT, b'{"model":null,"messages":[]}', (400, "model is required")),
        (OPENAI_CHAT, b'{"messages":[{}]}', (400, "model is required")),
        (OPENAI_CHAT, b'{"model":"m"}', (400, "[] is too short - 'messages'")),
        (OPENAI_CHAT, b"{}", (400, "[] is too short - 'messages'")),
        (OPENAI_CHAT, b'{"model":"m","messages":[]}', (400, "[] is too short - 'messages'")),
        (EMBED, b"", (400, "missing request body")),
        (OLD_EMBEDDINGS, b"", (400, "missing request body")),
        (COMPLETIONS, b"", (400, "EOF")),
        (EMBEDDINGS, b"", (400, "EOF")),
        (RESPONSES, b" ", (400, "EOF")),
        (MESSAGES, b"", (400, "EOF")),
        (COUNT, b"", (400, "EOF")),
        (EMBED, b'{"input":"x"}', (404, "model '' not found")),
        (EMBED, b'{"model":"m","input":5}', (400, "invalid input type")),
        (EMBED, b'{"model":"m","input":{}}', (400, "invalid input type")),
        (OLD_EMBEDDINGS, b'{"prompt":"x"}', (400, "model is required")),
        (COMPLETIONS, b'{"prompt":"x"}', (404, "model '' not found")),
        (EMBEDDINGS, b'{"input":"x"}', (404, "model '' not found")),
        (EMBEDDINGS, b'{"input":null}', (400, "invalid input")),
        (EMBEDDINGS, b'{"model":"m","input":[ ]} scanned', (400, "invalid input")),
        (EMBEDDINGS, b'{"model":"m","input":true}', (400, "invalid input type")),
        (RESPONSES, b'{"input":"x"}', (400, "model is required")),
        (
            RESPONSES,
            b'{"model":"m","input":true}',
            (
                400,
                "input must be a string or array: json: cannot unmarshal bool into Go value of type []json.RawMessage",
            ),
        ),
        (MESSAGES, b'{"max_tokens":1,"messages":[{}]}', (400, "model is required")),
        (MESSAGES, b'{"model":"m","messages":[{}]}', (400, "max_tokens is required and must be positive")),
        (MESSAGES, b'{"model":"m","max_tokens":0}', (400, "max_tokens is required and must be positive")),
        (MESSAGES, b'{"model":"m","max_tokens":1,"messages":[]}', (400, "messages is required")),
        (
            MESSAGES,
            b'{"model":"m","max_tokens":1.5}',
            (400, "json: cannot unmarshal number 1.5 into Go struct field MessagesRequest.max_tokens of type int"),
        ),
        (COUNT, b'{"messages":[{}]}', (400, "model is required")),
        (COUNT, b'{"model":"m"}', (400, "messages is required")),
        (EMBED, b"[]", (400, "json: cannot unmarshal array into Go value of type api.EmbedRequest")),
        (
            RESPONSES,
            b'{"model":[]}',
            (400, "json: cannot unmarshal array into Go struct field ResponsesRequest.model of type string"),
        ),
        (CHAT, b"[]", (400, "json: cannot unmarshal array into Go value of type api.ChatRequest")),
        (GENERATE, b'"x"', (400, "json: cannot unmarshal string into Go value of type api.GenerateRequest")),
        (
            OPENAI_CHAT,
            b"1 x",
            (400, "json: cannot unmarshal number into Go value of type openai.ChatCompletionRequest"),
        ),
        (
            CHAT,
            b'{"model":1}',
            (400, "json: cannot unmarshal number into Go struct field ChatRequest.model of type string"),
        ),
        (
            GENERATE,
            b'{"Model":["x"]}',
            (400, "json: cannot unmarshal array into Go struct field GenerateRequest.model of type string"),
        ),
        (
            CHAT,
            b'{"stream":"yes","model":1}',
            (400, "json: cannot unmarshal string into Go struct field ChatRequest.stream of type bool"),
        ),
        (
            OPENAI_CHAT,
            b'{"model":"m","tools":true,"messages":"hi"}',
            (
                400,
                "json: cannot unmarshal bool into Go struct field ChatCompletionRequest.tools of type []api.Tool",
            ),
        ),
        (
            CHAT,
            b'{"model":"m","options":true}',
            (
                400,
                "json: cannot unmarshal bool into Go struct field ChatRequest.options of type map[string]interface {}",
            ),
        ),
        (
            GENERATE,
            b'{"model":"m","prompt":{}} scanned',
            (400, "json: cannot unmarshal object into Go struct field GenerateRequest.prompt of type string"),
        ),
    ],
)
def test_what_cannot_be_routed_is_refused_in_ollamas_words(
    endpoint: Endpoint, body: bytes, expected: tuple[int, str]
) -> None:
    assert refusal(endpoint, body) == expected


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        (COMPLETIONS, {"prompt": ["a", "b"]}),  # llama.cpp and vLLM take lists of texts, and of tokens
        (COMPLETIONS, {"prompt": [1, 2, 3]}),
        (COMPLETIONS, {}),
        (EMBEDDINGS, {"input": [[1, 2], [3]]}),
        (EMBEDDINGS, {"input": ""}),
        (EMBEDDINGS, {"input": "x", "encoding_format": "odd", "dimensions": "all"}),
        (RESPONSES, {}),
        (RESPONSES, {"input": [{"type": "nobody knows"}], "previous_response_id": "resp_1"}),
        (MESSAGES, {"max_tokens": 1, "messages": [7], "system": 5}),
        (COUNT, {"messages": HELLO, "max_tokens": "many"}),
        (OLD_EMBEDDINGS, {"prompt": None}),
    ],
)
def test_what_does_not_hinder_routing_is_for_the_model_server_to_judge(
    endpoint: Endpoint, fields: dict[str, Any]
) -> None:
    assert both_ways(endpoint, {"model": "m", **fields}).model == "m"


def test_the_model_is_trimmed_and_otherwise_as_sent() -> None:
    assert both_ways(CHAT, {"model": " Llama3.3:70B\n", "messages": HELLO}).model == "Llama3.3:70B"


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"MODEL":"a"}', "a"),
        (b'{"model":"a","Model":"b"}', "b"),
        (b'{"Model":"b","model":"a"}', "a"),
        (b'{"model":"a","model":"b"}', "b"),
        (b'{"model":"a"} and more', "a"),
        (b'{"model":"a\xff"}', "a\ufffd"),
        (b'{"model":"\\ud800"}', "\ufffd"),
        (b'{"model":"a","n":1e999}', "a"),
        (b'{"model":"a","deep":' + b"[" * 2000 + b"]" * 2000 + b"}", "a"),
    ],
)
def test_bodies_are_read_as_go_reads_them(body: bytes, model: str) -> None:
    assert read_request(CHAT, body).model == model


@pytest.mark.parametrize(
    ("endpoint", "stream", "streamed"),
    [
        (CHAT, None, True),
        (CHAT, False, False),
        (GENERATE, None, True),
        (OPENAI_CHAT, None, False),
        (OPENAI_CHAT, True, True),
        (COMPLETIONS, None, False),
        (COMPLETIONS, True, True),
        (RESPONSES, None, False),
        (RESPONSES, True, True),
        (MESSAGES, None, False),
        (MESSAGES, True, True),
        (EMBED, True, False),
        (OLD_EMBEDDINGS, True, False),
        (EMBEDDINGS, True, False),
        (COUNT, True, False),
    ],
)
def test_each_dialect_has_its_own_default_for_streams(endpoint: Endpoint, stream: bool | None, streamed: bool) -> None:
    fields = {"model": "m", "messages": HELLO, "prompt": "hello", "input": "hello", "max_tokens": 1, "stream": stream}
    assert both_ways(endpoint, fields).streamed is streamed


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        (GENERATE, {}),
        (GENERATE, {"prompt": ""}),
        (CHAT, {}),
        (CHAT, {"messages": []}),
        (CHAT, {"messages": None}),
    ],
)
def test_a_request_without_a_prompt_only_loads_and_is_answered_by_one_object(
    endpoint: Endpoint, fields: dict[str, Any]
) -> None:
    routing = both_ways(endpoint, {"model": "m", "stream": True, "keep_alive": 0, **fields})
    assert (routing.loads_only, routing.streamed, routing.keep_alive) == (True, False, 0)


IMAGE_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
AUDIO_PART = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
TEXT_PART = {"type": "text", "text": "hi"}
IMAGE_BLOCK = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
PAGES_BLOCK = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}}
LINKED_BLOCK = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
LINKED_PART = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
INPUT_IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
LOOKED_BLOCK = {"type": "tool_result", "content": [TEXT_PART, IMAGE_BLOCK]}


@pytest.mark.parametrize(
    ("endpoint", "fields", "needs"),
    [
        (CHAT, {"messages": HELLO}, ()),
        (CHAT, {"messages": HELLO, "tools": []}, ()),
        (CHAT, {"messages": HELLO, "tools": [{"type": "function"}]}, (Capability.TOOLS,)),
        (CHAT, {"messages": [{"role": "user", "images": []}]}, ()),
        (CHAT, {"messages": [*HELLO, {"role": "user", "images": ["AAAA"]}]}, (Capability.VISION,)),
        (GENERATE, {"prompt": "what is it?", "images": ["AAAA"]}, (Capability.VISION,)),
        (GENERATE, {"prompt": "def f(", "suffix": "return"}, (Capability.INSERT,)),
        (OPENAI_CHAT, {"messages": [{"role": "user", "content": [TEXT_PART]}]}, ()),
        (OPENAI_CHAT, {"messages": [{"role": "user", "content": [TEXT_PART, IMAGE_PART]}]}, (Capability.VISION,)),
        (OPENAI_CHAT, {"messages": [{"role": "user", "content": [LINKED_PART]}]}, (Capability.VISION,)),
        (OPENAI_CHAT, {"messages": [{"role": "user", "content": [AUDIO_PART]}]}, (Capability.AUDIO,)),
        (OPENAI_CHAT, {"messages": HELLO, "tools": [{"x": {"images": ["not one"]}}]}, (Capability.TOOLS,)),
        (CHAT, {"messages": [{"role": "user", "content": [IMAGE_PART]}]}, ()),  # Ollama has none there
        (OPENAI_CHAT, {"messages": [{"role": "user", "images": ["AAAA"], "content": [IMAGE_BLOCK]}]}, ()),
        (COMPLETIONS, {"prompt": "def f(", "suffix": "return"}, (Capability.INSERT,)),
        (COMPLETIONS, {"prompt": "hello", "images": ["AAAA"], "tools": [{}]}, ()),
        (RESPONSES, {"input": "hello", "tools": [{"type": "function", "name": "f"}]}, (Capability.TOOLS,)),
        (RESPONSES, {"input": [{"role": "user", "content": [IMAGE_PART]}]}, (Capability.VISION,)),
        (RESPONSES, {"input": [{"role": "user", "content": [INPUT_IMAGE]}]}, (Capability.VISION,)),
        (RESPONSES, {"input": [{"type": "function_call_output", "output": [IMAGE_PART]}]}, (Capability.VISION,)),
        (RESPONSES, {"input": [{"role": "user", "content": [AUDIO_PART]}]}, (Capability.AUDIO,)),
        (MESSAGES, {"max_tokens": 1, "messages": [{"role": "user", "content": [IMAGE_BLOCK]}]}, (Capability.VISION,)),
        (MESSAGES, {"max_tokens": 1, "messages": [{"role": "user", "content": [LINKED_BLOCK]}]}, (Capability.VISION,)),
        (MESSAGES, {"max_tokens": 1, "messages": [{"role": "user", "content": [PAGES_BLOCK, LOOKED_BLOCK]}]}, ()),
        (MESSAGES, {"max_tokens": 1, "messages": HELLO, "tools": [{"name": "f"}]}, (Capability.TOOLS,)),
        (EMBED, {"input": "hello"}, (Capability.EMBEDDING,)),
        (OLD_EMBEDDINGS, {"prompt": "hello", "images": ["AAAA"]}, (Capability.EMBEDDING,)),
        (EMBEDDINGS, {"input": ["hello"]}, (Capability.EMBEDDING,)),
        (IMAGES, {"prompt": "a cat"}, (Capability.IMAGE,)),
        (EDITS, {"prompt": "a cat", "image": "AAAA"}, (Capability.IMAGE,)),
        (GENERATE_IMAGE, {"prompt": "a cat"}, (Capability.IMAGE,)),
    ],
)
def test_what_a_model_must_be_able_to_do(
    endpoint: Endpoint, fields: dict[str, Any], needs: tuple[Capability, ...]
) -> None:
    assert both_ways(endpoint, {"model": "m", **fields}).needs == needs


@pytest.mark.parametrize(
    ("endpoint", "fields", "num_ctx", "max_tokens"),
    [
        (CHAT, {"options": {"num_ctx": 8192, "num_predict": 100}}, 8192, 100),
        (CHAT, {"options": {"num_ctx": 8192.7, "num_predict": -1}}, 8192, None),
        (CHAT, {"options": {"num_ctx": "8192", "num_predict": True}}, None, None),
        (CHAT, {"options": {"NUM_CTX": 8192}}, None, None),
        (CHAT, {"options": None, "max_tokens": 5}, None, None),
        (CHAT, {"options": {"num_ctx": 10**18 * 10.0}}, None, None),
        (OPENAI_CHAT, {"max_tokens": 7, "options": {"num_ctx": 8192}}, None, 7),
        (OPENAI_CHAT, {"max_tokens": None, "max_completion_tokens": 9}, None, 9),
        (OPENAI_CHAT, {}, None, None),
        (COMPLETIONS, {"max_tokens": 7, "max_completion_tokens": 9}, None, 7),
        (RESPONSES, {"max_output_tokens": 7, "max_tokens": 9}, None, 7),
        (MESSAGES, {"max_tokens": 7}, None, 7),
        (EMBED, {"options": {"num_ctx": 2048, "num_predict": 5}}, 2048, 0),
        (OLD_EMBEDDINGS, {"options": {"num_ctx": 2048}}, 2048, 0),
        (EMBEDDINGS, {"input": "hello"}, None, 0),
        (COUNT, {"max_tokens": 7}, None, 0),
    ],
)
def test_lengths_asked_for(
    endpoint: Endpoint, fields: dict[str, Any], num_ctx: int | None, max_tokens: int | None
) -> None:
    routing = both_ways(endpoint, {"model": "m", "messages": HELLO, "input": "hello", **fields})
    assert (routing.num_ctx, routing.max_tokens) == (num_ctx, max_tokens)


@pytest.mark.parametrize(("num_ctx", "odd"), [("8192", True), (True, True), (-1, True), (8192, False), (None, False)])
def test_a_context_that_is_no_number_of_tokens_is_noticed(num_ctx: Any, *, odd: bool) -> None:
    assert both_ways(CHAT, {"model": "m", "messages": HELLO, "options": {"num_ctx": num_ctx}}).odd_context is odd


def test_a_keep_alive_that_is_none_is_one_that_the_client_names() -> None:
    odd: tuple[Any, ...] = (True, [], {"a": 1})
    for keep_alive in odd:
        assert both_ways(CHAT, {"model": "m", "messages": HELLO, "keep_alive": keep_alive}).keep_alive == ""


@pytest.mark.parametrize("keep_alive", ["5m", 0, -1, 0.5, None])
def test_keep_alive_is_as_sent_and_native_only(keep_alive: Any) -> None:
    fields = {"model": "m", "messages": HELLO, "keep_alive": keep_alive}
    assert both_ways(CHAT, fields).keep_alive == keep_alive
    assert both_ways(OPENAI_CHAT, fields).keep_alive is None


def test_a_conversation_is_known_by_how_it_begins_whatever_follows() -> None:
    system = {"role": "system", "content": "be brief"}

    def begun(*messages: dict[str, str]) -> tuple[str, bool]:
        routing = read_request(CHAT, orjson.dumps({"model": "m", "messages": messages}))
        return routing.conversation, routing.continues

    first, continues = begun(system, *HELLO)
    assert first
    assert not continues
    later = begun(system, *HELLO, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "more"})
    assert later == (first, True)
    assert begun(system, {"role": "user", "content": "another"})[0] != first
    assert begun(*HELLO)[0] != first
    assert begun(system) == ("", False)
    assert read_request(GENERATE, b'{"model": "m", "prompt": "hello"}').conversation == ""


def test_a_response_goes_on_as_a_chat_does() -> None:
    first = beginning_of(RESPONSES, {"input": HELLO})
    assert first == beginning_of(RESPONSES, {"input": [*HELLO, {"role": "assistant", "content": "hi"}]}, continues=True)
    assert read_request(RESPONSES, b'{"model":"m","input":"hello"}').conversation == ""


def test_messages_as_deep_as_no_chat_is_make_no_conversation() -> None:
    nested = b'{"model":"m","messages":[{"role":"user","content":%b%b}]}' % (b"[" * 300, b"]" * 300)
    assert read_request(CHAT, nested).conversation == ""


def test_to_count_a_chat_is_no_turn_of_it() -> None:
    assert both_ways(COUNT, {"model": "m", "messages": HELLO}).conversation == ""


def test_marks_of_what_is_to_be_cached_make_no_other_conversation() -> None:
    def content(**mark: Any) -> list[dict[str, Any]]:
        return [{"role": "user", "content": [{"type": "text", "text": "hello"}, {**TEXT_PART, **mark}]}]

    first = beginning_of(MESSAGES, {"max_tokens": 1, "messages": content(cache_control={"type": "ephemeral"})})
    later = [*content(), {"role": "assistant", "content": "hi"}]
    assert first == beginning_of(MESSAGES, {"max_tokens": 1, "messages": later}, continues=True)


def beginning_of(endpoint: Endpoint, fields: dict[str, Any], *, continues: bool = False) -> str:
    """The conversation that a request is of, after a look whether it is its beginning."""
    routing = read_request(endpoint, orjson.dumps({"model": "m", **fields}))
    assert routing.conversation
    assert routing.continues is continues
    return routing.conversation


def test_what_a_block_holds_does_not_count_as_prompt() -> None:
    for block in (IMAGE_BLOCK, PAGES_BLOCK, LOOKED_BLOCK):
        small, large = orjson.dumps(block), orjson.dumps(block).replace(b"AAAA", b"A" * 100_000)
        body = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[%b]}]}'
        assert read_request(MESSAGES, body % small).prompt_tokens == read_request(MESSAGES, body % large).prompt_tokens
        assert read_request(MESSAGES, body % large + b" scanned").prompt_tokens < 100


def test_images_do_not_count_as_prompt() -> None:
    without = both_ways(CHAT, {"model": "m", "messages": [{"images": [""], "content": "four"}]})
    with_image = both_ways(CHAT, {"model": "m", "messages": [{"images": ["A" * 100_000], "content": "four"}]})
    assert with_image.prompt_tokens == without.prompt_tokens


def test_a_long_body_is_only_scanned() -> None:
    fields = {"messages": [{"images": [BIG], "content": "what is it?"}], "options": {"num_ctx": 4096}, "model": "m"}
    routing = read_request(CHAT, orjson.dumps(fields))
    assert (routing.model, routing.needs, routing.num_ctx) == ("m", (Capability.VISION,), 4096)
    assert routing.prompt_tokens < 30
    prompt = read_request(GENERATE, orjson.dumps({"model": "m", "prompt": BIG}))
    assert (prompt.loads_only, prompt.prompt_tokens) == (False, len(BIG) // 4 + 6)


def test_a_mapped_file_is_read_like_bytes() -> None:
    for size in (10, len(BIG)):
        body = orjson.dumps({"model": "m", "prompt": "x" * size})
        with tempfile.TemporaryFile() as file:
            file.write(body)
            file.flush()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                assert read_request(GENERATE, mapped) == read_request(GENERATE, body)
        assert read_request(GENERATE, memoryview(body)) == read_request(GENERATE, body)


@given(
    st.sampled_from(INFERENCE),
    st.binary(max_size=40)
    | st.lists(
        st.sampled_from([b"{", b"}", b'"model"', b'"m"', b":", b",", b"[", b"]", b"1", b" ", b'"messages"'])
    ).map(b"".join)
    | st.dictionaries(
        st.sampled_from(
            [
                *("model", "Model", "messages", "stream", "options", "images", "keep_alive", "max_tokens", "input"),
                *("tools", "fallback_models"),
            ]
        ),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["num_ctx", "images", "content", "source"]), inner, max_size=3)
            ),
            max_leaves=5,
        ),
    ).map(orjson.dumps),
)
@settings(max_examples=300)
def test_any_bytes_give_a_routing_or_a_refusal(endpoint: Endpoint, body: bytes) -> None:
    refused: RequestError | None = None
    try:
        routing = read_request(endpoint, body)
    except RequestError as error:
        refused = error
    if refused is not None:
        assert refused.status in {400, 404}
        assert str(refused)
    else:
        assert routing.model == routing.model.strip() != ""
        assert routing.prompt_tokens >= 0


@pytest.mark.parametrize("endpoint", INFERENCE, ids=lambda endpoint: endpoint.name)
def test_a_name_without_end_is_no_name(endpoint: Endpoint) -> None:
    body = orjson.dumps({"model": "x" * 513, "messages": [{}], "prompt": "x", "input": "x"})

    with pytest.raises(RequestError, match=r"^invalid model name$") as error:
        read_request(endpoint, body)
    assert error.value.status == 400


@pytest.mark.parametrize("endpoint", [CHAT, GENERATE, OPENAI_CHAT])
@pytest.mark.parametrize("names", [None, [], ["a"], ["Qwen/Qwen3", " b ", "größer:1b"], ["x" * 512] * 8])
def test_what_may_serve_in_place_of_the_model_is_read_in_every_dialect(
    endpoint: Endpoint, names: list[str] | None
) -> None:
    fields: dict[str, Any] = {"model": "m", "messages": HELLO, "prompt": "hello"}
    assert both_ways(endpoint, fields).fallbacks is None
    expected = None if names is None else tuple(names)
    assert both_ways(endpoint, {"Fallback_Models": names} | fields).fallbacks == expected
    long = orjson.dumps(fields | {"fallback_models": names, "messages": [{"role": "user", "content": BIG}]})
    assert read_request(endpoint, long).fallbacks == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b'"a"', "json: cannot unmarshal string into Go struct field {}.fallback_models of type []string"),
        (b"{}", "json: cannot unmarshal object into Go struct field {}.fallback_models of type []string"),
        (b"[1]", "json: cannot unmarshal number into Go struct field {}.fallback_models of type string"),
        (b'["a",["b"]]', "json: cannot unmarshal array into Go struct field {}.fallback_models of type string"),
        (b'["a",""]', "invalid model name"),
        (b'["a",null]', "invalid model name"),
        (b'["a\\n"]', "invalid model name"),
        (b'["\xff"]', "invalid model name"),
        (b'["' + b"x" * 513 + b'"]', "invalid model name"),
        (b"[" + b" " * 70_000 + b'"a"' + b" " * body_fields.PARSE_LIMIT + b"]", "invalid model name"),
        (b'["a","b","c","d","e","f","g","h","i"]', "fallback_models has 9 names: at most 8 count"),
    ],
)
@pytest.mark.parametrize(
    ("endpoint", "struct"),
    [(CHAT, "ChatRequest"), (GENERATE, "GenerateRequest"), (OPENAI_CHAT, "ChatCompletionRequest")],
)
def test_what_names_no_models_is_refused(endpoint: Endpoint, struct: str, value: bytes, words: str) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"prompt":"x","fallback_models":' + value + b"}"
    assert refusal(endpoint, body) == refusal(endpoint, body + b"}") == (400, words.format(struct))


@pytest.mark.parametrize(
    ("endpoint", "fields", "amount"),
    [
        (GENERATE_IMAGE, {"width": 1024, "height": 768, "steps": 9, "guidance": 3, "seed": 7, "quantize": 8}, 7078),
        (GENERATE_IMAGE, {"guidance": 3.5, "negative_prompt": None, "steps": None}, None),
        (IMAGES, {"size": "512x512", "steps": 4, "n": 2}, 2098),
        (IMAGES, {"size": "512x512", "steps": 4, "stream": False}, 1049),
        (IMAGES, {"size": "1024x1024", "quality": "hd"}, None),
        (EDITS, {"size": "512x512", "steps": 4}, 1049),
    ],
)
def test_an_image_is_as_much_work_as_its_pixels_and_steps(
    endpoint: Endpoint, fields: dict[str, Any], amount: int | None
) -> None:
    routing = both_ways(endpoint, {"model": "m", "prompt": "a cat", **fields})
    assert (routing.amount, routing.guess, routing.model_at) == (amount, 0, None)
    assert (routing.prompt_tokens, routing.max_tokens, routing.streamed, routing.loads_only) == (0, 0, False, False)


def test_images_may_come_piece_by_piece_in_openais_form() -> None:
    fields = {"model": "m", "prompt": "a cat", "stream": True}
    assert both_ways(IMAGES, fields).streamed
    assert not both_ways(GENERATE_IMAGE, fields).streamed


@pytest.mark.parametrize(
    ("endpoint", "fields", "why"),
    [
        (GENERATE_IMAGE, {}, "prompt is required"),
        (GENERATE_IMAGE, {"prompt": ""}, "prompt is required"),
        (IMAGES, {"prompt": None}, "prompt is required"),
        (GENERATE_IMAGE, {"prompt": "x", "width": 0}, "width must be from 1 to 16384, not 0"),
        (GENERATE_IMAGE, {"prompt": "x", "height": 16385}, "height must be from 1 to 16384, not 16385"),
        (GENERATE_IMAGE, {"prompt": "x", "steps": -1}, "steps must be from 1 to 1000, not -1"),
        (
            GENERATE_IMAGE,
            {"prompt": "x", "width": "512"},
            "json: cannot unmarshal string into Go struct field GenerateImageRequest.width of type int",
        ),
        (
            GENERATE_IMAGE,
            {"prompt": "x", "steps": 4.5},
            "json: cannot unmarshal number 4.5 into Go struct field GenerateImageRequest.steps of type int",
        ),
        (
            GENERATE_IMAGE,
            {"prompt": "x", "guidance": "much"},
            "json: cannot unmarshal string into Go struct field GenerateImageRequest.guidance of type float64",
        ),
        (
            IMAGES,
            {"prompt": ["x"]},
            "json: cannot unmarshal array into Go struct field ImageGenerationRequest.prompt of type string",
        ),
    ],
)
def test_a_wish_for_an_image_that_none_can_be_is_refused(endpoint: Endpoint, fields: dict[str, Any], why: str) -> None:
    assert refusal(endpoint, orjson.dumps({"model": "m", **fields})) == (400, why)
