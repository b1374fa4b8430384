from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.names import canonical
from herd.protocols.listings import (
    FALLBACK_VERSION,
    FOR_EVER,
    UNKNOWN_TIME,
    openai_model,
    openai_models,
    ps,
    show,
    shown,
    tags,
    version,
)
from herd.protocols.messages import ModelInfo
from herd.types import BackendId, Bytes, ModelName, NodeName, Tokens

DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "3.2B",
    "quantization_level": "Q4_K_M",
}


def model(name: str, **fields: Any) -> ModelInfo:
    return ModelInfo(ModelName(name), BackendId("ollama-11434"), **fields)


def listed(*models: ModelInfo) -> list[tuple[NodeName, ModelInfo]]:
    return [(NodeName(f"node-{number}"), info) for number, info in enumerate(models)]


def test_a_model_of_ollama_is_listed_as_ollama_lists_it() -> None:
    info = model(
        "llama3.2:3b",
        size=Bytes(2019393189),
        digest="a80c4f17acd5",
        modified_at="2026-08-01T10:00:00.5+02:00",
        details=DETAILS,
        capabilities=("completion", "tools"),
    )
    assert orjson.loads(tags(listed(info))) == {
        "models": [
            {
                "name": "llama3.2:3b",
                "model": "llama3.2:3b",
                "modified_at": "2026-08-01T10:00:00.5+02:00",
                "size": 2019393189,
                "digest": "a80c4f17acd5",
                "details": DETAILS,
                "capabilities": ["completion", "tools"],
            }
        ]
    }


def test_a_model_of_another_server_has_every_field_that_clients_require() -> None:
    (entry,) = orjson.loads(tags(listed(model("/models/SmolLM2-135M-Instruct.Q4_1.gguf"))))["models"]
    assert entry["name"] == entry["model"] == "/models/SmolLM2-135M-Instruct.Q4_1.gguf:latest"
    assert (entry["modified_at"], entry["size"], entry["digest"]) == (UNKNOWN_TIME, 0, "")
    assert entry["details"] == {**dict.fromkeys(DETAILS, ""), "families": []}
    assert "capabilities" not in entry


def test_models_of_every_kind_are_listed_with_what_they_can_do() -> None:
    infos = listed(
        model("whisper-1", capabilities=("audio",)),
        model("z-image-turbo", capabilities=("image",), size=Bytes(12 * 2**30)),
        model("bge-m3:latest", capabilities=("embedding",)),
    )
    shown_by_ollama = {entry["name"]: entry["capabilities"] for entry in orjson.loads(tags(infos))["models"]}
    shown_by_openai = {entry["id"]: entry["capabilities"] for entry in orjson.loads(openai_models(infos))["data"]}
    assert shown_by_ollama == {
        "whisper-1:latest": ["audio"],
        "z-image-turbo:latest": ["image"],
        "bge-m3:latest": ["embedding"],
    }
    assert shown_by_openai == {"whisper-1": ["audio"], "z-image-turbo": ["image"], "bge-m3:latest": ["embedding"]}
    assert orjson.loads(show(infos[0][1]))["capabilities"] == ["audio"]


def test_a_model_on_several_nodes_is_listed_once_and_the_newest_build_is_shown() -> None:
    entries = orjson.loads(
        tags(
            listed(
                model("m:latest", digest="old", modified_at="2026-01-01T00:00:00Z"),
                model("M", digest="new", modified_at="2026-03-01T00:00:00Z"),
                model("other", modified_at="2026-02-01T00:00:00Z"),
                model("library/m", digest="older", modified_at="2025-01-01T00:00:00Z"),
            )
        )
    )["models"]
    assert [(entry["name"], entry["digest"]) for entry in entries] == [("M:latest", "new"), ("other:latest", "")]


def test_newest_comes_first_whatever_the_time_zone() -> None:
    names = ["early", "late"]
    infos = [model("early", modified_at="2026-01-01T12:00:00+09:00"), model("late", modified_at="2026-01-01T04:00:00Z")]
    entries = orjson.loads(tags(listed(*infos)))["models"]
    assert [entry["name"] for entry in entries] == [f"{name}:latest" for name in reversed(names)]


def test_only_resident_models_run_and_the_longest_lasting_instance_is_shown() -> None:
    answer = orjson.loads(
        ps(
            listed(
                model("on-disk"),
                model(
                    "m",
                    resident=True,
                    digest="d",
                    size_resident=Bytes(5),
                    size_vram=Bytes(4),
                    context_length=Tokens(4096),
                    expires_at="2026-08-01T10:05:00Z",
                ),
                model("m", resident=True, size_vram=Bytes(1), expires_at="2026-08-01T10:01:00Z"),
                model("pinned", resident=True, size=Bytes(7)),
            )
        )
    )
    details = {**dict.fromkeys(DETAILS, ""), "families": []}
    pinned, m = answer["models"]
    assert (pinned["name"], pinned["size"], pinned["expires_at"]) == ("pinned:latest", 7, FOR_EVER)
    assert m == {
        "name": "m:latest",
        "model": "m:latest",
        "size": 5,
        "digest": "d",
        "details": details,
        "expires_at": "2026-08-01T10:05:00Z",
        "size_vram": 4,
        "context_length": 4096,
        "herd": {"nodes": ["node-1", "node-2"]},
    }


def test_builds_that_differ_are_one_entry_that_tells_who_has_which() -> None:
    old, new = ({"digest": digest, "modified_at": f"2026-0{n}-01T10:00:00Z"} for n, digest in enumerate(("o", "n"), 1))
    three = listed(model("m", **old), model("M:latest", **new), model("library/m", **old))
    (entry,) = orjson.loads(tags(three))["models"]
    assert (entry["digest"], entry["herd"]) == ("n", {"digests": {"o": ["node-0", "node-2"], "n": ["node-1"]}})
    build = shown(three, "m:latest")
    assert build is not None
    assert build.digest == "n"


def test_a_build_that_all_have_is_listed_as_by_one_ollama() -> None:
    (entry,) = orjson.loads(tags(listed(model("m", digest="d"), model("m", digest="d"))))["models"]
    (process,) = orjson.loads(ps(listed(model("m", resident=True), model("m"))))["models"]
    assert "herd" not in entry
    assert "herd" not in process


def test_a_model_of_another_server_is_shown_with_what_clients_look_for() -> None:
    info = model(
        "Qwen/Qwen3-8B",
        context_max=Tokens(40960),
        details={"family": "qwen3"},
        capabilities=("completion", "tools", "vision"),
    )
    answer = orjson.loads(show(info))
    assert answer["model_info"]["general.architecture"] == "qwen3"
    assert answer["model_info"]["qwen3.context_length"] == 40960
    assert answer["capabilities"] == ["completion", "tools", "vision"]
    assert "tools" in answer["template"].lower()
    assert answer["details"]["families"] == []
    plain = orjson.loads(show(model("x.gguf")))
    assert (plain["capabilities"], plain["template"], plain["modified_at"]) == (["completion"], "", UNKNOWN_TIME)
    assert plain["model_info"] == {"general.architecture": "unknown", "general.basename": "x.gguf"}


def test_one_model_is_told_as_the_list_tells_it() -> None:
    info = model("Qwen/Qwen3-8B", modified_at="2026-08-01T10:00:00Z")
    (entry,) = orjson.loads(openai_models(listed(info)))["data"]
    assert openai_model(info) == orjson.dumps(entry) + b"\n"
    assert shown(listed(info), "x:latest") is None


def test_openais_list_has_the_names_that_the_nodes_list() -> None:
    body = openai_models(listed(model("Qwen/Qwen3-8B"), model("m:1b", modified_at="2026-08-01T10:00:00Z")))
    assert body.endswith(b"\n")
    assert orjson.loads(body) == {
        "object": "list",
        "data": [
            {"id": "m:1b", "object": "model", "created": 1785578400, "owned_by": "library"},
            {"id": "Qwen/Qwen3-8B", "object": "model", "created": 0, "owned_by": "Qwen"},
        ],
    }


def test_no_model_is_an_empty_list_and_never_null() -> None:
    assert tags([]) == ps([]) == b'{"models":[]}'
    assert orjson.loads(openai_models([])) == {"object": "list", "data": []}


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (["0.33.0"], "0.33.0"),
        (["0.33.0", "0.9.6", "0.13.4"], "0.9.6"),
        (["v0.33.0-rc2"], "0.33.0"),
        (["0.33.0+fleet"], "0.33.0"),
        (["0.0.0", "0.20.1"], "0.20.1"),
        (["0.0.0"], FALLBACK_VERSION),
        (["", "b4567"], FALLBACK_VERSION),
        ([], FALLBACK_VERSION),
    ],
)
def test_the_version_is_the_lowest_and_plain(versions: list[str], expected: str) -> None:
    assert orjson.loads(version(versions)) == {"version": expected}


@given(
    st.lists(
        st.builds(
            model,
            st.sampled_from(["a", "A:latest", "b", "library/b", "c:1"]),
            modified_at=st.sampled_from(["", "nonsense", "2026-01-01T00:00:00Z", "2026-01-01"]),
            resident=st.booleans(),
            details=st.dictionaries(
                st.sampled_from(["families", "family"]), st.none() | st.lists(st.text(), max_size=1)
            ),
        )
    )
)
@settings(max_examples=50)
def test_whatever_nodes_report_each_model_is_listed_once_whatever_the_order(models: list[ModelInfo]) -> None:
    names = [entry["name"] for entry in orjson.loads(tags(listed(*models)))["models"]]
    assert sorted(map(canonical, names)) == sorted({canonical(info.name) for info in models})
    again = [entry["name"] for entry in orjson.loads(tags(listed(*reversed(models))))["models"]]
    assert list(map(canonical, again)) == list(map(canonical, names))
