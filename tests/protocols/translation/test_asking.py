"""What is asked of a model server that speaks OpenAI's API alone."""

import base64
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.errors import RequestError
from herd.protocols.translation import standin
from herd.protocols.translation.fields import MAX_ODD
from herd.simulation.ollama.asks.native import read_chat
from herd.simulation.ollama.asks.openai import read_chat_completion, read_completion
from herd.types import Api, BackendKind
from tests.protocols.translation.asking import CHAT, GENERATE, HELLO, asked, chat, messages, translated

LLAMACPP, VLLM, LMSTUDIO, OPENAI = BackendKind.LLAMACPP, BackendKind.VLLM, BackendKind.LMSTUDIO, BackendKind.OPENAI
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(16)).decode()
WAV = base64.b64encode(b"RIFF\x00\x00\x00\x00WAVEfmt ").decode()
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TOOL = {"type": "function", "function": {"name": "f", "description": "", "parameters": SCHEMA}}

OPTIONS = {
    "num_predict": 9,
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 7,
    "stop": ["\n"],
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
    "top_k": 40,
    "min_p": 0.05,
    "repeat_penalty": 1.1,
    "typical_p": 0.7,
    "repeat_last_n": 64,
    "num_keep": 4,
    "num_ctx": 4096,
    "num_gpu": 99,
    "unheard_of": 1,
}
COMMON = {
    "max_tokens": 9,
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 7,
    "stop": ["\n"],
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
}


def refusal(api: Api, fields: dict[str, Any], kind: BackendKind = OPENAI) -> tuple[int, str]:
    with pytest.raises(RequestError) as refused:
        translated(api, fields, kind)
    return refused.value.status, str(refused.value)


def test_a_chat_streams_unless_it_says_otherwise_and_always_asks_for_its_counts() -> None:
    body = orjson.loads(translated(CHAT, {"messages": HELLO}).wanted.body or b"")
    assert body == {"model": "m", "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
    whole = orjson.loads(translated(CHAT, {"messages": HELLO, "stream": False}).wanted.body or b"")
    assert whole == {"model": "m", "messages": HELLO, "stream": False}


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (OPENAI, {}),
        (LMSTUDIO, {"top_k": 40, "repeat_penalty": 1.1}),
        (VLLM, {"top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1}),
        (
            LLAMACPP,
            {
                "top_k": 40,
                "min_p": 0.05,
                "repeat_penalty": 1.1,
                "typical_p": 0.7,
                "repeat_last_n": 64,
                "n_keep": 4,
                "reasoning_format": "auto",
            },
        ),
    ],
)
def test_each_server_gets_the_options_that_it_has(kind: BackendKind, more: dict[str, Any]) -> None:
    assert chat(kind, options=OPTIONS) == COMMON | more


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"num_predict": -1}, {}),
        ({"num_predict": -2}, {}),
        ({"num_predict": 0}, {}),
        ({"num_predict": 7.9}, {"max_tokens": 7}),
        ({"seed": -1}, {}),
        ({"temperature": None}, {}),
    ],
)
def test_what_to_ollama_means_no_limit_or_any_seed_is_left_out(options: dict[str, Any], sent: dict[str, Any]) -> None:
    assert chat(options=options) == sent


@pytest.mark.parametrize(
    ("kind", "form", "sent"),
    [
        (OPENAI, "json", {"type": "json_object"}),
        (LMSTUDIO, "json", {"type": "json_schema", "schema": {"type": "object"}}),
        (VLLM, SCHEMA, {"type": "json_schema", "schema": SCHEMA}),
    ],
)
def test_a_format_is_a_response_format(kind: BackendKind, form: Any, sent: dict[str, Any]) -> None:
    got = chat(kind, format=form)["response_format"]
    assert (got["type"], got.get("json_schema", {}).get("schema")) == (sent["type"], sent.get("schema"))


@pytest.mark.parametrize(
    ("kind", "think", "sent"),
    [
        (OPENAI, True, {}),
        (OPENAI, "max", {"reasoning_effort": "high"}),
        (LMSTUDIO, "low", {"reasoning_effort": "low"}),
        (VLLM, False, {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}),
        (
            VLLM,
            "medium",
            {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}, "reasoning_effort": "medium"},
        ),
        (
            LLAMACPP,
            "low",
            {
                "chat_template_kwargs": {"enable_thinking": True, "thinking": True, "reasoning_effort": "low"},
                "reasoning_format": "auto",
            },
        ),
    ],
)
def test_thinking_is_switched_where_the_server_has_a_switch(kind: BackendKind, think: Any, sent: Any) -> None:
    assert chat(kind, think=think) == sent


def test_probabilities_are_asked_for_with_at_least_one_alternative() -> None:
    assert chat(logprobs=True) == {"logprobs": True, "top_logprobs": 1}
    assert chat(logprobs=True, top_logprobs=5) == {"logprobs": True, "top_logprobs": 5}
    assert chat(top_logprobs=5) == {}
    assert asked(GENERATE, {"prompt": "a", "raw": True, "logprobs": True}) == {"prompt": "a", "logprobs": 1}


def test_images_are_data_uris_of_what_they_are_and_sounds_are_audio() -> None:
    (message,) = messages({"role": "User", "content": "What?", "images": [PNG, WAV, "/9j/4AAQ", "AAAA\r\nAAAA"]})
    text, png, wav, jpeg, other = message["content"]
    assert (message["role"], text) == ("user", {"type": "text", "text": "What?"})
    assert png == {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    assert wav == {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}
    assert jpeg["image_url"]["url"] == "data:image/jpeg;base64,/9j/4AAQ"
    assert other["image_url"]["url"] == "data:image/jpeg;base64,AAAAAAAA"


def test_tool_calls_get_ids_and_their_results_find_them() -> None:
    def call(name: str, **more: Any) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": {"z": 1, "a": "ü"}}, **more}

    said, second, first, third, stray = messages(
        {"role": "assistant", "content": "", "tool_calls": [call("f"), call("g"), call("f", id="mine")]},
        {"role": "tool", "tool_name": "g", "content": "2"},
        {"role": "tool", "content": "1"},
        {"role": "tool", "tool_call_id": "mine", "content": "3"},
        {"role": "tool", "content": "4"},
    )
    ids = [made["id"] for made in said["tool_calls"]]
    assert ids == ["call_00000001", "call_00000002", "mine"]
    assert said["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"z":1,"a":"ü"}'}
    assert [first["tool_call_id"], second["tool_call_id"], third["tool_call_id"]] == ids
    assert stray["tool_call_id"] not in ids


def test_tools_are_passed_on_as_they_are() -> None:
    assert chat(tools=[TOOL]) == {"tools": [TOOL]}
    assert chat(tools=[{"function": {"name": "f"}}]) == {"tools": [{"type": "function", "function": {"name": "f"}}]}
    assert chat(LLAMACPP, tools=[TOOL])["parallel_tool_calls"] is True


def test_thoughts_of_earlier_turns_go_where_a_server_has_a_place_for_them() -> None:
    thought = {"role": "assistant", "content": "b", "thinking": "a"}
    assert messages(thought, kind=LLAMACPP)[0]["reasoning_content"] == "a"
    assert messages(thought, kind=VLLM)[0]["reasoning"] == "a"
    assert messages(thought, kind=LMSTUDIO) == [{"role": "assistant", "content": "b"}]


def test_generate_is_a_chat_unless_its_prompt_is_raw_or_has_a_suffix() -> None:
    plain = translated(GENERATE, {"prompt": "a", "system": "b", "images": [PNG]})
    assert plain.wanted.path == Api.CHAT
    system, user = orjson.loads(plain.wanted.body or b"")["messages"]
    assert system == {"role": "system", "content": "b"}
    assert [part["type"] for part in user["content"]] == ["text", "image_url"]
    raw = translated(GENERATE, {"prompt": "a", "raw": True, "options": {"num_predict": 3}})
    assert raw.wanted.path == Api.COMPLETIONS
    assert asked(GENERATE, {"prompt": "a", "raw": True, "options": {"num_predict": 3}}) == {
        "prompt": "a",
        "max_tokens": 3,
    }
    assert asked(GENERATE, {"prompt": "a", "suffix": "b"}) == {"prompt": "a", "suffix": "b"}
    assert asked(GENERATE, {"prompt": "a", "raw": True, "format": SCHEMA}, LLAMACPP)["json_schema"] == SCHEMA


def test_embeddings_are_asked_for_as_numbers() -> None:
    assert asked(Api.OLLAMA_EMBED, {"input": "a"}) == {"input": ["a"], "encoding_format": "float"}
    assert asked(Api.OLLAMA_EMBED, {"input": ["a", ""]}, VLLM)["truncate_prompt_tokens"] == -1
    assert "truncate_prompt_tokens" not in asked(Api.OLLAMA_EMBED, {"input": "a", "truncate": False}, VLLM)
    assert asked(Api.OLLAMA_EMBEDDINGS, {"prompt": "a"}, LLAMACPP)["embd_normalize"] == -1


@pytest.mark.parametrize(
    ("api", "fields", "unload"),
    [
        (CHAT, {}, False),
        (CHAT, {"messages": [], "keep_alive": "5m"}, False),
        (CHAT, {"messages": None, "keep_alive": "0s"}, True),
        (GENERATE, {"prompt": "", "keep_alive": 0}, True),
        (GENERATE, {"keep_alive": -1}, False),
        (GENERATE, {"suffix": "b", "keep_alive": "0"}, True),
    ],
)
def test_without_a_prompt_nothing_is_asked(api: Api, fields: dict[str, Any], unload: bool) -> None:
    request = translated(api, fields)
    assert (request.wanted.body, request.loads, request.wanted.unload) == (None, True, unload)


def test_the_first_value_counts_and_names_match_in_any_case() -> None:
    body = b'{"Model":" m ","MESSAGES":[{"Role":"USER","Content":"\\ud800x"}],"stream":false} trailing'
    request = standin(CHAT, OPENAI, body)
    sent = orjson.loads(request.wanted.body or b"")
    assert (sent["model"], sent["messages"]) == ("m", [{"role": "user", "content": "\ufffdx"}])


@pytest.mark.parametrize(
    ("api", "fields", "answer"),
    [
        (CHAT, {"messages": [3]}, (400, "json: cannot unmarshal number into Go struct field ChatRequest.messages")),
        (
            CHAT,
            {"messages": HELLO, "tools": ["f"]},
            (400, "json: cannot unmarshal string into Go struct field ChatReq"),
        ),
        (CHAT, {"messages": [{"content": []}]}, (400, "json: cannot unmarshal array into Go struct field")),
        (CHAT, {"messages": HELLO, "options": {"top_k": "x"}}, (500, 'option "top_k" must be of type integer')),
        (CHAT, {"messages": HELLO, "options": {"stop": "x"}}, (500, 'option "stop" must be of type array')),
        (CHAT, {"messages": HELLO, "options": {"seed": True}}, (500, 'option "seed" must be of type integer')),
        (CHAT, {"messages": HELLO, "think": "hardly"}, (400, 'invalid think value: "hardly" (must be "high"')),
        (CHAT, {"messages": HELLO, "format": "xml"}, (400, 'invalid format: "xml"; expected "json"')),
        (CHAT, {"messages": HELLO, "top_logprobs": 21}, (400, "top_logprobs must be between 0 and 20")),
        (CHAT, {"messages": HELLO, "keep_alive": "-1"}, (400, 'time: missing unit in duration "-1"')),
        (CHAT, {"messages": HELLO, "keep_alive": "1d"}, (400, 'time: unknown unit "d" in duration "1d"')),
        (CHAT, {"messages": HELLO, "keep_alive": "soon"}, (400, 'time: invalid duration "soon"')),
        (CHAT, {"messages": HELLO, "keep_alive": []}, (400, "json: cannot unmarshal array into Go struct field")),
        (CHAT, {"model": "", "messages": HELLO}, (400, "model is required")),
        (CHAT, {"messages": [{"role": "user", "images": ["%"]}]}, (400, "illegal base64 data")),
        (GENERATE, {"model": "", "prompt": "a"}, (404, "model '' not found")),
        (GENERATE, {"prompt": "a", "raw": True, "system": "b"}, (400, "raw mode does not support template, system")),
        (GENERATE, {"prompt": "a", "template": "b"}, (400, "template: the model server that has m takes none")),
        (GENERATE, {"prompt": "a", "context": [1]}, (400, "context: the model server that has m takes none")),
        (GENERATE, {"prompt": "a", "raw": True, "images": [PNG]}, (400, "the model server takes images with a chat")),
        (GENERATE, {"prompt": "a", "raw": True, "format": "json"}, (400, "format: the model server takes it with")),
        (Api.OLLAMA_EMBED, {"input": 3}, (400, "invalid input type")),
        (Api.OLLAMA_EMBED, {"input": ["a", 3]}, (400, "invalid input type")),
        (Api.OLLAMA_EMBEDDINGS, {"model": " ", "prompt": "a"}, (400, "model is required")),
    ],
)
def test_what_ollama_refuses_or_a_server_cannot_do_is_refused(
    api: Api, fields: dict[str, Any], answer: tuple[int, str]
) -> None:
    status, text = refusal(api, fields)
    assert (status, text[: len(answer[1])]) == answer


def test_a_suffix_is_refused_where_it_would_be_ignored() -> None:
    for kind in (LLAMACPP, VLLM):
        assert refusal(GENERATE, {"prompt": "a", "suffix": "b"}, kind) == (400, "m does not support insert")


def test_a_long_body_is_not_repaired() -> None:
    body = b'{"model":"m","messages":[{"content":"\\ud800%b"}]}'
    assert standin(CHAT, OPENAI, body % b"").wanted.body is not None
    with pytest.raises(RequestError, match=r"not JSON: .* at character"):
        standin(CHAT, OPENAI, body % (b"x" * MAX_ODD))


@pytest.mark.parametrize("body", [b"", b" \n", b"[]", b"{", b'{"model":', b"\xff", b"[" * 100_000, b"nul"])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    for api in (CHAT, GENERATE, Api.OLLAMA_EMBED, Api.OLLAMA_EMBEDDINGS):
        with pytest.raises(RequestError):
            standin(api, OPENAI, body)


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


@pytest.mark.parametrize(
    ("api", "body"),
    [
        (CHAT, b'{"model":"m","messages":[{"role":"assistant","tool_calls":[{"function":{"arguments":%b}}]}]}'),
        (CHAT, b'{"model":"m","messages":[{"role":"user","content":"a"}],"format":[%b]}'),
        (CHAT, b'{"model":"m","messages":[{"role":"user","content":"a"}],"format":%b}'),
        (
            Api.MESSAGES,
            b'{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"tool_use","input":%b}]}]}',
        ),
        (Api.RESPONSES, b'{"model":"m","input":"a","metadata":%b}'),
    ],
)
def test_what_is_nested_deeper_than_can_be_written_is_refused(api: Api, body: bytes) -> None:
    for levels in (255, 900):
        with pytest.raises(RequestError) as refused:
            standin(api, OPENAI, body % nested(levels))
        assert refused.value.status == 400


# --- Properties -------------------------------------------------------------------------------------------------------

texts = st.text(max_size=20)
options = st.fixed_dictionaries(
    {},
    optional={
        "num_predict": st.integers(-2, 500) | st.floats(0, 100),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(0, 100),
        "seed": st.integers(-1, 2**31),
        "stop": st.lists(texts, max_size=3),
        "repeat_penalty": st.floats(0, 2),
        "num_ctx": st.integers(1, 99999),
    },
)
calls = st.fixed_dictionaries(
    {"function": st.fixed_dictionaries({"name": texts, "arguments": st.dictionaries(texts, texts, max_size=2)})},
    optional={"id": texts},
)
turns = st.fixed_dictionaries(
    {"role": st.sampled_from(("user", "assistant", "system", "tool")), "content": texts},
    optional={
        "thinking": texts,
        "images": st.lists(st.binary(max_size=30).map(lambda data: base64.b64encode(data).decode()), max_size=2),
        "tool_calls": st.lists(calls, max_size=2),
        "tool_name": texts,
        "tool_call_id": texts,
    },
)
requests = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": st.lists(turns, min_size=1, max_size=4)},
    optional={
        "stream": st.booleans(),
        "options": options,
        "format": st.sampled_from(("json", SCHEMA)),
        "think": st.sampled_from((True, False, "low", "high", "max")),
        "tools": st.lists(st.just(TOOL), max_size=2),
        "logprobs": st.booleans(),
        "top_logprobs": st.integers(0, 20),
        "keep_alive": st.sampled_from((0, -1, "5m", 30.5)),
    },
)


@given(requests, st.sampled_from((LLAMACPP, VLLM, LMSTUDIO, OPENAI)))
@settings(max_examples=200)
def test_a_valid_chat_becomes_one_that_a_strict_reader_understands(fields: dict[str, Any], kind: BackendKind) -> None:
    body = orjson.dumps(fields)
    ours = read_chat(body)
    sent = translated(CHAT, fields, kind).wanted
    theirs = read_chat_completion(_images_only(sent.body or b""))
    assert theirs.wishes.stream == ours.wishes.stream == sent.streamed
    assert theirs.wishes.num_predict == ours.wishes.num_predict
    assert theirs.images == ours.images
    assert len(theirs.wishes.tools) == len(ours.wishes.tools)


def _images_only(body: bytes) -> bytes:
    """The reader takes the kinds of image that Ollama takes, of which bytes at random are sometimes none."""
    return body.replace(b"data:image/gif", b"data:image/png").replace(b"data:image/bmp", b"data:image/png")


@given(texts.filter(bool), st.booleans(), options)
def test_a_valid_prompt_becomes_one_that_a_strict_reader_understands(
    prompt: str, raw: bool, options: dict[str, Any]
) -> None:
    sent = translated(GENERATE, {"prompt": prompt, "raw": raw, "options": options}).wanted
    read = read_completion if raw else read_chat_completion
    assert prompt in read(sent.body or b"").text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ("model", "messages", "prompt", "input", "options", "format", "think", "images", "tools", "raw", "suffix", "stream")
)


@given(st.sampled_from((CHAT, GENERATE, Api.OLLAMA_EMBED, Api.OLLAMA_EMBEDDINGS)), st.dictionaries(names, json_values))
@settings(max_examples=150)
def test_any_json_is_translated_or_refused(api: Api, fields: dict[str, Any]) -> None:
    for kind in (LLAMACPP, VLLM, LMSTUDIO, OPENAI):
        with suppress(RequestError):
            standin(api, kind, orjson.dumps({"model": "m", **fields}))
