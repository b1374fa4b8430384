import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.names import canonical, namespace, tagged


@pytest.mark.parametrize(
    "name",
    ["x", "X", " x ", "x:latest", "X:Latest", "x:", "library/x", "registry.ollama.ai/library/x", "library/x:latest"],
)
def test_all_spellings_of_a_default_model_are_one(name: str) -> None:
    assert canonical(name) == "x:latest"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llama3.3:70B", "llama3.3:70b"),
        ("user/x", "user/x:latest"),
        ("registry.ollama.ai/user/x:q4", "user/x:q4"),
        ("hf.co/User/Repo:Q4_K_M", "hf.co/user/repo:q4_k_m"),
        ("localhost:5000/ns/x", "localhost:5000/ns/x:latest"),
        ("/models/Smol.Q4_1.gguf", "/models/smol.q4_1.gguf:latest"),
        ("library/library/x", "library/library/x:latest"),
    ],
)
def test_what_tells_models_apart_is_kept(name: str, expected: str) -> None:
    assert canonical(name) == expected


def test_a_tag_is_added_in_the_callers_spelling() -> None:
    assert tagged("Qwen/Qwen3") == "Qwen/Qwen3:latest"
    assert tagged("Qwen/Qwen3:8B") == "Qwen/Qwen3:8B"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("x", "library"), ("Qwen/Qwen3", "Qwen"), ("hf.co/user/repo:q4", "user"), ("/models/x.gguf", "library")],
)
def test_the_namespace_is_the_publisher(name: str, expected: str) -> None:
    assert namespace(name) == expected


@given(st.text("aAİ:/ .library", max_size=20))
def test_the_canonical_name_is_its_own_canonical_name(name: str) -> None:
    assert canonical(canonical(name)) == canonical(name)
