import base64
import json
import struct
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.errors import RequestError
from herd.protocols.batches import (
    MOST_BESIDE,
    MOST_INPUTS,
    MOST_VECTOR,
    AnswerReader,
    Inputs,
    PartAnswer,
    joined,
    read_inputs,
)
from herd.protocols.splice import Splicer
from herd.types import Api

OLLAMA, OPENAI = Api.OLLAMA_EMBED, Api.EMBEDDINGS


# --- requests ---------------------------------------------------------------------------------------------------------


def cut(body: bytes, inputs: Inputs, first: int, last: int) -> bytes:
    splicer = Splicer(inputs.cut(first, last))
    return splicer.feed(body) + splicer.end()


def test_a_part_keeps_every_byte_but_the_other_inputs() -> None:
    body = b'{ "Model":"m", "input" : [ "a\\"]" ,"b", "\\u0063" ] , "dimensions":1.50, "x":[1e400] } tail'
    inputs = read_inputs(body)

    assert inputs is not None
    assert inputs.sizes == (6, 3, 8)
    assert cut(body, inputs, 0, 2) == body.replace(b"[ ", b"[").replace(b', "\\u0063" ', b"")
    assert cut(body, inputs, 1, 2) == b'{ "Model":"m", "input" : ["b"] , "dimensions":1.50, "x":[1e400] } tail'


@pytest.mark.parametrize("value", ['"text"', "[]", "[1, 2]", "[[1, 2], [3]]", '["a", 1]', '["a", null]', "null", "{}"])
def test_what_is_no_list_of_texts_stays_whole(value: str) -> None:
    assert read_inputs(b'{"model":"m","input":%s}' % value.encode()) is None
    assert read_inputs(b'{"model":"m"}') is None


def test_a_list_that_is_too_long_stays_whole() -> None:
    assert read_inputs(json.dumps({"input": ["a"] * MOST_INPUTS}).encode()) is not None
    assert read_inputs(json.dumps({"input": ["a"] * (MOST_INPUTS + 1)}).encode()) is None


def test_a_text_of_a_million_escapes_is_one_text() -> None:
    body = b'{"input":["' + b'\\"' * 1_000_000 + b'","b"]}'
    inputs = read_inputs(memoryview(body))
    assert inputs is not None
    assert inputs.sizes == (2_000_002, 3)


def test_a_body_that_is_no_json_is_refused_in_gos_words() -> None:
    with pytest.raises(RequestError, match="unexpected EOF"):
        read_inputs(b'{"input":["a"')


TEXTS = st.lists(st.text(max_size=12), min_size=1, max_size=12)


@given(TEXTS, st.data(), st.booleans(), st.sampled_from([None, 1]))
def test_the_parts_have_all_inputs_in_their_order(texts: list[str], data: Any, ascii_only: bool, indent: Any) -> None:
    asked = {"model": "m", "input": texts, "options": {"seed": 1}}
    body = json.dumps(asked, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    inputs = read_inputs(body)
    assert inputs is not None
    edges = sorted({0, len(texts), *data.draw(st.lists(st.integers(0, len(texts))))})
    parts = [json.loads(cut(body, inputs, *pair)) for pair in pairwise(edges)]
    assert [text for part in parts for text in part["input"]] == texts
    assert all({**part, "input": texts} == asked for part in parts)


# --- answers ----------------------------------------------------------------------------------------------------------


def native(*vectors: str, **beside: Any) -> bytes:
    rest = "".join(f',"{key}":{json.dumps(value)}' for key, value in beside.items())
    return f'{{"model":"m","embeddings":[{",".join(vectors)}]{rest}}}'.encode()


def openai(*vectors: str, first: int = 0, tokens: int = 1) -> bytes:
    data = ",".join(
        f'{{"object":"embedding","embedding":{vector},"index":{first + number}}}'
        for number, vector in enumerate(vectors)
    )
    usage = f'{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}'
    return f'{{"object":"list","data":[{data}],"model":"m","usage":{usage}}}\n'.encode()


def read(api: Api, answer: bytes, count: int, *cuts: int) -> PartAnswer | None:
    """An answer that comes in pieces."""
    reader = AnswerReader(api, count)
    for start, end in zip([0, *cuts], [*cuts, len(answer)], strict=True):
        reader.feed(answer[start:end])
    return reader.end()


def whole(api: Api, *answers: tuple[bytes, int]) -> bytes:
    parts = [read(api, answer, count) for answer, count in answers]
    answer = joined(api, [part for part in parts if part is not None])
    data = b"".join(answer.pieces)
    assert answer.size == len(data)
    return data


def test_vectors_go_on_as_they_were_written() -> None:
    first = native("[0.10, -1e-07]", "[ 2 ]", total_duration=5_000, load_duration=70, prompt_eval_count=3)
    second = native("[3.000]", total_duration=9_000, prompt_eval_count=4)

    assert whole(OLLAMA, (first, 2), (second, 1)) == native(
        "[0.10, -1e-07]", "[ 2 ]", "[3.000]", total_duration=9_000, load_duration=70, prompt_eval_count=7
    )


def test_what_only_a_later_part_says_is_added() -> None:
    answer = whole(OLLAMA, (native("[1]"), 1), (native("[2]", load_duration=7, prompt_eval_count=2), 1))
    expected = {"model": "m", "embeddings": [[1], [2]], "load_duration": 7, "prompt_eval_count": 2}
    assert json.loads(answer) == expected


def test_openais_indices_count_on_and_its_tokens_are_added_up() -> None:
    first, second = openai("[0.10]", "[2]", tokens=5), openai("[3]", tokens=6)
    assert whole(OPENAI, (first, 2), (second, 1)) == openai("[0.10]", "[2]", "[3]", tokens=11)


def test_base64_stays_what_it_is() -> None:
    texts = [f'"{base64.b64encode(struct.pack("<3f", n, -n, 0.5)).decode()}"' for n in range(5)]
    assert whole(OPENAI, (openai(*texts[:2]), 2), (openai(*texts[2:]), 3)) == openai(*texts, tokens=2)


def test_a_list_in_another_order_is_put_in_order() -> None:
    answer = (
        b'{"model":"m","usage":{"prompt_tokens":2},"object":"list",'
        b'"data":[{"index":1,"embedding":[1]},{"embedding":[0],"index":0}]}'
    )
    document = json.loads(whole(OPENAI, (answer, 2), (openai("[2]"), 1)))
    assert [(item["index"], item["embedding"]) for item in document["data"]] == [(0, [0]), (1, [1]), (2, [2])]
    assert document["usage"] == {"prompt_tokens": 3}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{}",
        b'{"error":"out of luck"}',
        native("[1]"),
        native("[1]", "[2]", "[3]"),
        native("[1]", "[[2]]"),
        native("[1]", '["2"]'),
        native("[1]", "{}"),
        native("[1]", "null"),
        native("[1]", "[2]")[:-1],
        native("[1]", "[2]") + b"{}",
        b'{"embeddings":[[1] [2]]}',
        b'{"embeddings":[[1],,[2]]}',
        b'{"embeddings":[[1],[2],]}',
        b'{"embeddings":[[1],[2]}}',
        b'{"embeddings":[[1],[2]],"embeddings":[]}',
        b'{"x":{"embeddings":[[1],[2]]}}',
        b'{"embeddings":[[1],[2]],"model":"\xff"}',
        b"\xff" * 100_000,
        native("[1]", "[2]", model2="x" * MOST_BESIDE),
    ],
)
def test_what_is_not_as_it_should_be_is_no_answer(answer: bytes) -> None:
    assert read(OLLAMA, answer, 2) is None
    assert read(OLLAMA, answer, 2, *range(1, len(answer))) is None


@pytest.mark.parametrize("item", ['{"embedding":[1]}', '{"embedding":[1],"index":0}', '{"embedding":[1],"index":-1}'])
def test_of_openais_every_place_has_one_vector(item: str) -> None:
    answer = b'{"data":[{"embedding":[0],"index":0},%s]}' % item.encode()
    assert read(OPENAI, answer, 2) is None


def test_what_is_longer_than_any_vector_is_not_kept() -> None:
    reader = AnswerReader(OLLAMA, 1)
    reader.feed(b'{"embeddings":[[')
    for _ in range(2 * MOST_VECTOR // 1000):
        reader.feed(b"1," * 500)
    assert len(reader._data) == 0
    assert reader.end() is None


NUMBER = st.from_regex(r"-?[0-9]\.[0-9]{1,9}(e-0[1-9])?", fullmatch=True)
VECTOR = st.lists(NUMBER, min_size=1, max_size=3).map(lambda numbers: f"[{','.join(numbers)}]")
VECTORS = st.lists(VECTOR, min_size=1, max_size=4)


@given(VECTORS, st.data(), st.sampled_from([OLLAMA, OPENAI]))
def test_an_answer_is_read_the_same_however_it_comes(vectors: list[str], data: Any, api: Api) -> None:
    answer = native(*vectors, prompt_eval_count=3) if api is OLLAMA else openai(*vectors)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=6)))
    part = read(api, answer, len(vectors))
    assert part is not None
    assert read(api, answer, len(vectors), *cuts) == part
    assert read(api, answer, len(vectors), *range(1, len(answer))) == part
    assert b"".join(joined(api, [part]).pieces) == answer


@given(st.lists(VECTORS, min_size=1, max_size=3), st.sampled_from([OLLAMA, OPENAI]))
def test_parts_become_the_answer_that_one_server_would_have_given(parts: list[list[str]], api: Api) -> None:
    every = [vector for part in parts for vector in part]
    if api is OLLAMA:
        answers = [(native(*part, prompt_eval_count=2), len(part)) for part in parts]
        expected = native(*every, prompt_eval_count=2 * len(parts))
    else:
        answers = [(openai(*part), len(part)) for part in parts]
        expected = openai(*every, tokens=len(parts))
    assert whole(api, *answers) == expected


def test_a_long_answer_goes_out_in_pieces() -> None:
    vector = f"[{','.join(['0.123456789'] * 768)}]"
    parts = [read(OLLAMA, native(*[vector] * 40), 40) for _ in range(2)]
    answer = joined(OLLAMA, [part for part in parts if part is not None])
    pieces = list(answer.pieces)
    assert len(pieces) > 5
    assert answer.size == sum(len(piece) for piece in pieces)
    assert json.loads(b"".join(pieces))["embeddings"] == [[0.123456789] * 768] * 80
