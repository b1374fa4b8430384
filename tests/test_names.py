import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.names import MAX_ALIASES, MAX_FALLBACKS, MAX_NAME, Names, canonical, namespace, tagged


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


OWNERS = Names({"GPT-4o": "smart", "smart": "Qwen3:32b"}, {"qwen3:32B": ["llama3.2:3b", "smart", "gemma3:4b"]})


@pytest.mark.parametrize("name", ["gpt-4o", "GPT-4O:latest", " library/gpt-4o", "smart"])
def test_an_alias_means_the_model_at_the_end_of_its_path_in_any_spelling(name: str) -> None:
    assert OWNERS.resolve(name) == "qwen3:32b"
    assert OWNERS.aliases == {"GPT-4o": "qwen3:32b", "smart": "qwen3:32b"}


@pytest.mark.parametrize("name", ["Qwen3:32b", "gpt-4o:mini", "user/gpt-4o", "x"])
def test_what_is_no_alias_means_itself(name: str) -> None:
    assert OWNERS.resolve(name) == name


def test_a_chain_begins_with_what_was_asked_for_and_names_each_model_once() -> None:
    chain = ("qwen3:32b", "llama3.2:3b", "gemma3:4b")
    assert OWNERS.chain("qwen3:32b") == OWNERS.chain("gpt-4o") == chain
    assert OWNERS.chain("X") == ("x:latest",)
    assert OWNERS.chain("llama3.2:3b") == ("llama3.2:3b",)


def test_of_an_alias_and_what_it_means_the_nearest_fallbacks_count() -> None:
    names = Names({"a": "b", "b": "m"}, {"b": ["x"], "m": ["y"]})
    assert [names.chain(name)[1:] for name in ("a", "b", "m")] == [("x:latest",), ("x:latest",), ("y:latest",)]


def test_a_fallback_brings_no_fallbacks_of_its_own() -> None:
    names = Names(fallbacks={"m": ["n"], "n": ["m", "o"]})
    assert names.chain("m") == ("m:latest", "n:latest")


def test_the_fallbacks_of_a_request_are_all_there_are() -> None:
    assert OWNERS.chain("gpt-4o", ("x", "GPT-4o", "Library/X")) == ("qwen3:32b", "x:latest")
    assert OWNERS.chain("gpt-4o", ()) == ("qwen3:32b",)


@pytest.mark.parametrize(
    ("aliases", "fallbacks", "says"),
    [
        ({"": "m"}, {}, "a name is empty"),
        ({"a": "  "}, {}, 'what "a" means is empty'),
        ({"a" * (MAX_NAME + 1): "m"}, {}, "a name is longer than 512 characters: aaa"),
        ({"a": "m" * (MAX_NAME + 1)}, {}, 'what "a" means is longer than 512 characters'),
        ({"a\n": "m"}, {}, "a name has characters that cannot be printed: 'a\\n'"),
        ({"a": "m\x1b[2J"}, {}, 'what "a" means has characters that cannot be printed'),
        ({"a": "m", "A:latest": "n"}, {}, '"a" and "A:latest" are the same name'),
        ({"a": "a:latest"}, {}, 'the alias "a:latest" leads in a circle: a:latest -> a:latest'),
        ({"a": "b", "b": "c", "c": "b"}, {}, "leads in a circle: a:latest -> b:latest -> c:latest -> b:latest"),
        ({str(number): "m" for number in range(MAX_ALIASES + 1)}, {}, "there are 257 aliases: at most 256 can be"),
        ({}, {"m": []}, '"m" has 0 fallbacks: name 1 to 8'),
        ({}, {"m": ["x"] * (MAX_FALLBACKS + 1)}, '"m" has 9 fallbacks: name 1 to 8'),
        ({}, {"m": ["x", ""]}, 'a fallback of "m" is empty'),
        ({}, {"m": ["x"], "M": ["y"]}, '"m" and "M" are the same name'),
        ({}, {str(number): ["m"] for number in range(MAX_ALIASES + 1)}, "there are 257 models with fallbacks"),
    ],
)
def test_names_that_make_no_sense_are_refused(
    aliases: dict[str, str], fallbacks: dict[str, list[str]], says: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        Names(aliases, fallbacks)


FEW = st.sampled_from("abcdefgh")


@given(
    aliases=st.dictionaries(FEW, FEW),
    fallbacks=st.dictionaries(FEW, st.lists(FEW, min_size=1, max_size=MAX_FALLBACKS)),
    sent=FEW,
    own=st.none() | st.lists(FEW, max_size=MAX_FALLBACKS),
)
def test_every_name_ends_at_a_model_and_the_order_is_kept_unless_an_alias_leads_in_a_circle(
    aliases: dict[str, str], fallbacks: dict[str, list[str]], sent: str, own: list[str] | None
) -> None:
    def follow(name: str) -> str | None:
        for _ in range(len(aliases) + 1):
            if name not in aliases:
                return name
            name = aliases[name]
        return None

    try:
        names = Names(aliases, fallbacks)
    except ValueError:
        assert any(follow(alias) is None for alias in aliases)
        return
    first, *others = names.chain(sent, own)
    assert first == canonical(str(follow(sent)))
    assert not {first, *others} & {canonical(alias) for alias in aliases}
    asked = own
    name: str | None = sent
    while asked is None and name is not None:
        asked, name = fallbacks.get(name), aliases.get(name)
    assert others == [
        model for model in dict.fromkeys(canonical(str(follow(one))) for one in asked or ()) if model != first
    ]
