"""Keys, hosts and origins as a person writes them."""

import pytest

from herd.cli.access import MAX_KEYS, access_of
from herd.config import RouterSettings
from herd.errors import ConfigError
from herd.protocols.access import Access, Key, digest_of
from tests.cli.command_line import CommandLine

SECRET = "sesame-and-lilies"


def access(**settings: object) -> Access:
    return access_of(RouterSettings(**settings), ("studio.example.org", "studio"))  # type: ignore[arg-type]


def test_a_fresh_start_has_no_keys_and_knows_its_name() -> None:
    fresh = access()
    assert (fresh.keys, fresh.admin, fresh.lan_admin) == ((), None, False)
    assert fresh.hosts.own == ("studio.example.org", "studio")


@pytest.mark.parametrize(
    ("given", "name", "key"),
    [
        (SECRET, "", SECRET),
        (f"phone={SECRET}", "phone", SECRET),
        (f"a.b_c-1={SECRET}", "a.b_c-1", SECRET),
        (f"phone={SECRET}==", "phone", f"{SECRET}=="),
        ("c2VjcmV0c2VjcmV0==", "", "c2VjcmV0c2VjcmV0=="),  # base64, and no name before an empty key
        ("c2VjcmV0c2VjcmV0=", "", "c2VjcmV0c2VjcmV0="),
        (f"sk/proj={SECRET}", "", f"sk/proj={SECRET}"),  # no name has a slash
        (f"a={SECRET}=b", "a", f"{SECRET}=b"),
    ],
)
def test_a_key_stands_alone_or_has_a_name(given: str, name: str, key: str) -> None:
    assert access(api_key=(given,)).keys == (Key(name, digest_of(key)),)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"api_key": (SECRET, "short")}, "--api-key (number 2) must have at least 8 characters"),
        ({"api_key": ("phone=short",)}, "--api-key of phone must have at least 8 characters"),
        ({"api_key": ("se same and lilies",)}, "--api-key (number 1) must consist of ASCII letters"),
        ({"api_key": ("sésame-and-lilies",)}, "--api-key (number 1) must consist of ASCII letters"),
        ({"api_key": ("sesame-and\nlilies",)}, "--api-key (number 1) must consist of ASCII letters"),
        ({"api_key": (SECRET, f"phone={SECRET}")}, "two of the keys are the same one"),
        ({"api_key": tuple(f"{SECRET}{n}" for n in range(MAX_KEYS + 1))}, "at most 1000 keys"),
        ({"admin_key": "short"}, "--admin-key must have at least 8 characters"),
        ({"admin_key": SECRET, "api_key": (f"phone={SECRET}",)}, "--admin-key is one of --api-key too"),
        ({"allowed_host": ("http://ai.example.com",)}, "--allowed-host must be a name such as ai.example.com"),
        ({"allowed_host": ("ai.example.com:443",)}, "--allowed-host must be a name such as"),
        ({"allowed_host": ("*",)}, "--allowed-host must be a name such as"),
        ({"allowed_host": ("a.*.com",)}, "--allowed-host must be a name such as"),
        ({"allowed_origin": ("chat.example.com",)}, "--allowed-origin must look like https://chat.example.com"),
        ({"allowed_origin": ("https://*.*.com",)}, "--allowed-origin must look like"),
    ],
)
def test_what_is_none_is_refused_in_a_sentence_that_shows_no_key(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        access(**settings)
    text = str(refused.value)
    assert sentence in text
    assert not any(each in text for each in (SECRET, "short", "same and", "sésame", "lilies"))


def test_hosts_and_origins_are_taken_as_they_are_meant() -> None:
    named = access(
        allowed_host=("AI.Example.com.", "*.fleet.example"), allowed_origin=("https://x.example/", "app://*")
    )
    assert named.hosts.allowed == ("ai.example.com", "*.fleet.example")
    assert named.origins.allowed == ("https://x.example", "app://*")


def test_the_name_that_it_is_bound_to_is_its_own() -> None:
    hosts = access_of(RouterSettings(host="Studio.Home.Arpa."), ("attic",)).hosts
    assert hosts.known("studio.home.arpa:11435")
    assert not hosts.known("attic.home.arpa")


def test_settings_show_no_secret() -> None:
    settings = RouterSettings(api_key=(SECRET,), admin_key=SECRET, join_token=SECRET)
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f'[herd]\napi-key = "{SECRET}"', 'herd.toml: "api-key" in [herd] must be a list of texts'),
        ("[herd]\nadmin-key = 12345678901", 'herd.toml: "admin-key" in [herd] must be text'),
        (f'[herd]\napi-key = ["{SECRET}", "short"]', "--api-key (number 2) must have at least 8 characters"),
    ],
)
def test_a_wrong_key_in_the_file_is_not_shown(run: CommandLine, tmp_path: object, text: str, sentence: str) -> None:
    (tmp_path / "herd.toml").write_text(text)  # type: ignore[operator]
    ended = run("herd --config herd.toml --data-dir data")
    assert (ended.code, ended.err) == (2, f"error: {sentence}\n")


def test_the_environment_may_hold_several(run: CommandLine) -> None:
    ended = run("herd --data-dir data", {"HERD_API_KEY": f"{SECRET}, phone=short"})
    assert (ended.code, ended.err) == (2, "error: --api-key of phone must have at least 8 characters\n")
