"""Servers that make text of speech, by what they answer."""

from typing import Any

import pytest

from herd.errors import ProtocolError
from herd.protocols.servers import recognise
from herd.protocols.speech_servers import (
    has_openai_path,
    is_nameless,
    lists,
    merge_loaded,
    read_nameless,
    read_qwen_asr_models,
    read_speaches_models,
    says_what_is_loaded,
)
from herd.types import BackendId, BackendKind
from tests.speech_servers import FASTER_WHISPER, QWEN_ASR, QWEN_ASR_LOCKED, SPEACHES, WHISPERCPP, whispercpp_page

BACKEND = BackendId("b")


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (WHISPERCPP, BackendKind.WHISPERCPP),
        ({**WHISPERCPP, "/": whispercpp_page("/v1/audio/transcriptions")}, BackendKind.OPENAI),
        (FASTER_WHISPER, BackendKind.OPENAI),
        (SPEACHES, BackendKind.OPENAI),
        (QWEN_ASR, BackendKind.QWEN_ASR),
        (QWEN_ASR_LOCKED, BackendKind.QWEN_ASR),
    ],
)
def test_each_is_told_by_signs_of_its_own(answers: dict[str, Any], kind: BackendKind) -> None:
    assert recognise(answers) is kind


@pytest.mark.parametrize(
    "answers",
    [
        {"/health": {"status": "ok"}},
        {"/health": {"status": "ok"}, "/": "<html><title>Welcome to nginx!</title>"},
        {"/health": {"status": "ok"}, "/": 7},
        {"/openapi.json": {"paths": {"/v1/audio/speech": {}}}},
        {"/openapi.json": {"paths": None}},
        {"/openapi.json": []},
    ],
)
def test_a_server_that_is_well_is_no_model_server_for_that(answers: dict[str, Any]) -> None:
    assert not is_nameless(answers)
    with pytest.raises(ProtocolError):
        recognise(answers)


def test_whispercpp_says_on_its_page_where_it_takes_sound() -> None:
    assert not has_openai_path(WHISPERCPP)
    assert has_openai_path({"/": whispercpp_page("/speech/v1/audio/transcriptions")})


@pytest.mark.parametrize(("answers", "path"), [(WHISPERCPP, "/health"), (FASTER_WHISPER, "/health"), ({}, None)])
def test_a_server_without_a_list_is_looked_at_where_it_answers(answers: dict[str, Any], path: str | None) -> None:
    found = lists(answers)
    assert (found[0] if found else None) == path


def test_a_server_without_a_list_has_the_model_that_openais_clients_ask_for() -> None:
    ((name, capabilities, resident),) = [
        (model.name, model.capabilities, model.resident) for model in read_nameless({"status": "ok"}, BACKEND)
    ]
    assert (name, capabilities, resident) == ("whisper-1", ("audio",), True)


def test_speaches_says_what_its_models_are_for_and_which_are_loaded() -> None:
    assert says_what_is_loaded(SPEACHES)
    found = lists(SPEACHES)
    assert found is not None
    assert (found[0], found[1]) == ("/v1/models", read_speaches_models)
    models = read_speaches_models(SPEACHES["/v1/models"], BACKEND)
    assert {model.name: model.capabilities for model in models} == {
        "Systran/faster-whisper-small": ("audio",),
        "speaches-ai/Kokoro-82M-v1.0-ONNX": ("text-to-speech",),
        "of-no-task": (),
    }
    loaded = merge_loaded(models, {"models": ["Systran/faster-whisper-small"]})
    assert [model.resident for model in loaded] == [True, False, False]
    assert not any(model.resident for model in merge_loaded(models, "nonsense"))


def test_mlx_qwen3_asr_has_its_model_under_the_name_that_it_has_in_the_fleet() -> None:
    found = lists(QWEN_ASR)
    assert found is not None
    (model,) = found[1](QWEN_ASR["/v1/models"], BACKEND)
    assert (model.name, model.capabilities, model.resident) == ("qwen3-asr:0.6b", ("audio",), True)
    (other,) = read_qwen_asr_models({"data": [{"id": "/models/own", "owned_by": "mlx-qwen3-asr"}]}, BACKEND)
    assert other.name == "/models/own"
