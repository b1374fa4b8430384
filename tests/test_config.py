from pathlib import Path
from typing import Any

import pytest

from herd import config
from herd.config import NodeSettings, RouterSettings, load, settings_of
from herd.errors import ConfigError
from herd.types import MiB

ROLES = (RouterSettings, NodeSettings)

# For each type a value unlike every default: as a flag gives it, as the environment does, and as TOML does.
SAMPLES: dict[str, tuple[Any, str, str]] = {
    "log_level": ("debug", "debug", '"debug"'),
    "log_format": ("json", "json", '"json"'),
    "scorer": ("completion-time", "completion-time", '"completion-time"'),
    "data_dir": (Path("/srv/x"), "/srv/x", '"/srv/x"'),
    "int": (4321, "4321", "4321"),
    "float": (2.5, "2.5", "2.5"),
    "bool": (True, "true", "true"),
    "str": ("x", "x", '"x"'),
    "many": (("a", "b"), "a, b", '["a", "b"]'),
}
SETTINGS = [(role, name) for role in ROLES for name in settings_of(role)]


def sample(role: type, name: str) -> tuple[Any, str, str]:
    item = settings_of(role)[name]
    if item.metadata["many"]:
        return SAMPLES["many"]
    kind = (
        "int" if name == "parallel" else str(item.type).partition(" |")[0].removeprefix("<class '").removesuffix("'>")
    )
    value = SAMPLES.get(name) or SAMPLES[kind]
    return (64, "64", "64") if name == "parallel" else value


def written(tmp_path: Path, role: type, key: str, value: str) -> Path:
    file = tmp_path / "herd.toml"
    file.write_text(f"[{config.TABLE[role]}]\n{key} = {value}\n", encoding="utf-8")
    return file


@pytest.mark.parametrize(("role", "name"), SETTINGS)
def test_flag_wins_over_environment_over_file_over_default(role: Any, name: str, tmp_path: Path) -> None:
    value, in_environment, in_file = sample(role, name)
    default = getattr(role(), name)
    variable = config.ENV_PREFIX[role] + name.upper()
    dashes = name.replace("_", "-")
    other_file = tmp_path / "other.toml"
    other_file.write_text("", encoding="utf-8")

    def loaded(flag: Any = None, environ: dict[str, str] | None = None, file: Path | None = None) -> Any:
        return getattr(load(role, {name: flag}, environ or {}, file), name)

    assert value != default
    assert loaded() == default
    assert loaded(file=other_file) == default
    assert loaded(file=written(tmp_path, role, dashes, in_file)) == value
    assert loaded(environ={variable: in_environment}) == value
    assert loaded(flag=value) == value
    # A default that is given somewhere still beats what stands further back.
    if isinstance(default, bool):
        assert loaded(environ={variable: "no"}, file=written(tmp_path, role, name, in_file)) is False
        assert loaded(flag=False, environ={variable: in_environment}) is False
    if isinstance(default, int | float) and not isinstance(default, bool):
        assert loaded(flag=default, environ={variable: in_environment}) == default


@pytest.mark.parametrize(
    ("role", "environ", "says"),
    [
        (RouterSettings, {"HERD_PORT": "many"}, "the environment variable HERD_PORT cannot be 'many'"),
        (RouterSettings, {"HERD_PORT": "70000"}, "must be a port from 0 to 65535, not 70000"),
        (RouterSettings, {"HERD_LINK_PORT": "-1"}, "HERD_LINK_PORT must be a port"),
        (RouterSettings, {"HERD_NO_MDNS": "perhaps"}, "HERD_NO_MDNS must be true or false, not 'perhaps'"),
        (RouterSettings, {"HERD_LOG_LEVEL": "loud"}, "must be one of debug, info, warning, error, not 'loud'"),
        (RouterSettings, {"HERD_HOLD_TIMEOUT": "-1"}, "must be from 0 to 3600 seconds"),
        (RouterSettings, {"HERD_MAX_BODY": "0"}, "must be at least 1 byte"),
        (RouterSettings, {"HERD_API_KEY": " ,"}, "HERD_API_KEY has nothing beside its commas"),
        (NodeSettings, {"HERD_NODE_PARALLEL": "0"}, "must be from 1 to 1024"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_with_its_source(role: Any, environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(role, {}, environ)

    assert says in str(error.value)


@pytest.mark.parametrize(
    ("role", "name"),
    [(RouterSettings, name) for name in ("admin_key", "join_token", "tls_cert", "tls_key")]
    + [(NodeSettings, "join_token")],
)
def test_what_closes_something_is_refused_where_it_is_given_empty(role: Any, name: str) -> None:
    """`--join-token "$TOKEN"` in a shell that has no TOKEN."""
    with pytest.raises(ConfigError) as error:
        load(role, {name: ""}, {})

    assert f"--{name.replace('_', '-')} is empty" in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[herd]\nport = 'x'", "\"port\" in [herd] cannot be 'x'"),
        ("[herd]\nprot = 1", 'there is no setting "prot" in [herd]'),
        ("[herd\n", "is not valid TOML"),
        ("herd = 3", "herd must be a table"),
        ("[herd]\naliases = 3", "[herd.aliases] must be a table: write [herd.aliases] on a line of its own"),
        ("[herd.aliases]\ngpt-4.1 = 'm'", '[herd.aliases]: "gpt-4" is a table: put names with dots in quotes'),
        ("[herd.aliases]\na = 3", '[herd.aliases]: "a" must be a name, not 3'),
        ("[herd.aliases]\na = 'a'", '[herd.aliases]: the alias "a:latest" leads in a circle'),
        ("[herd.fallbacks]\nm = 'n'", "[herd.fallbacks]: \"m\" must be a list of names, not 'n'"),
        ("[herd.fallbacks]\nm = [1]", '[herd.fallbacks]: "m" must be a list of names, not [1]'),
        ("[herd.fallbacks]\nm = []", '[herd.fallbacks]: "m" has 0 fallbacks'),
        ("[aliases]\na = 'm'", '"aliases" belongs into no table that Herd knows'),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_with_its_name(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "herd.toml"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError) as error:
        load(RouterSettings, {}, {}, file)

    assert says in str(error.value)
    assert str(file) in str(error.value)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*herd\.toml: No such file"):
        load(RouterSettings, {}, {}, tmp_path / "herd.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        load(RouterSettings, {}, {}, tmp_path)
    file = tmp_path / "herd.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        load(RouterSettings, {}, {}, file)


@pytest.mark.parametrize(("word", "meant"), [("1", True), ("YES", True), ("On", True), ("0", False), ("oFf", False)])
@pytest.mark.parametrize("name", ["no_mdns", "dashboard"])
def test_words_for_yes_and_no_are_understood_in_any_case(name: str, word: str, meant: bool, tmp_path: Path) -> None:
    assert getattr(load(RouterSettings, {}, {f"HERD_{name.upper()}": word}), name) is meant
    assert getattr(load(RouterSettings, {}, {}, written(tmp_path, RouterSettings, name, f'"{word}"')), name) is meant


@pytest.mark.parametrize("value", ["5", "[1]", "true"])
@pytest.mark.parametrize("name", ["data-dir", "log-level", "api-key", "no-mdns", "port"])
def test_a_value_of_another_type_is_refused(name: str, value: str, tmp_path: Path) -> None:
    if (name, value) in {("no-mdns", "true"), ("port", "5")}:
        return
    with pytest.raises(ConfigError, match=f'"{name}" in '):
        load(RouterSettings, {}, {}, written(tmp_path, RouterSettings, name, value))


def test_a_routers_variables_are_not_a_nodes_and_others_are_not_read() -> None:
    environ = {"HERD_JOIN_TOKEN": "router's", "HERD_NODE_JOIN_TOKEN": "node's", "PORT": "1", "HERD": "x"}
    assert load(RouterSettings, {}, environ) == RouterSettings(join_token="router's")
    assert load(NodeSettings, {}, environ) == NodeSettings(join_token="node's")


def test_each_role_reads_its_own_table(tmp_path: Path) -> None:
    file = tmp_path / "herd.toml"
    file.write_text('[herd]\nport = 1\n[node]\nname = "x"\n', encoding="utf-8")

    assert load(RouterSettings, {}, {}, file).port == 1
    assert load(NodeSettings, {}, {}, file).name == "x"


def test_names_and_fallbacks_stand_in_tables_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "herd.toml"
    file.write_text(
        '[herd.aliases]\n"gpt-4o" = "qwen3:32b"\n[herd.fallbacks]\n"qwen3:32b" = ["qwen3:8b", "llama3.2:3b"]\n',
        encoding="utf-8",
    )

    settings = load(RouterSettings, {}, {"HERD_ALIASES": "no variable"}, file)

    assert settings.names.chain("gpt-4o") == ("qwen3:32b", "qwen3:8b", "llama3.2:3b")
    assert load(RouterSettings, {}, {}).names.chain("gpt-4o") == ("gpt-4o:latest",)
    file.write_text("[node.aliases]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match='no setting "aliases" in'):
        load(NodeSettings, {}, {}, file)


def test_bodies_have_a_limit_unless_another_is_set() -> None:
    assert RouterSettings().json_limit == 256 * MiB
    assert RouterSettings(max_body=9).json_limit == 9


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:11500", "http://127.0.0.1:11500"),
        (":11500", "http://127.0.0.1:11500"),
        ("studio", "http://studio:11434"),
        ("http://studio", "http://studio:80"),
        ("https://studio", "https://studio:443"),
        ("https://studio:8443/ollama/", "https://studio:8443/ollama"),
        ("[::1]:11500", "http://[::1]:11500"),
        ("[::]:11500", "http://127.0.0.1:11500"),
        ("[::1]", "http://[::1]:11434"),
        ("::1", "http://[::1]:11434"),
        ("::", "http://127.0.0.1:11434"),
        ("studio:", "http://studio:11434"),
        ("studio:66000", "http://studio:11434"),
        ("studio:nonsense", "http://studio:11434"),
        ("studio:1/path", "http://studio:1/path"),
        (' "studio:1" ', "http://studio:1"),
    ],
)
def test_ollama_is_found_where_its_own_variable_says(given: str, url: str) -> None:
    assert config.ollama_url({"OLLAMA_HOST": given}) == url


@pytest.mark.parametrize("given", ["ftp://studio", "http://[::1", "]["])
def test_an_ollama_variable_that_means_nothing_is_refused_by_its_name(given: str) -> None:
    with pytest.raises(ConfigError, match=r"^OLLAMA_HOST"):
        config.ollama_url({"OLLAMA_HOST": given})


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("HTTP://Studio", "http://studio:80"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("https://models.local/llama/", "https://models.local:443/llama"),
        ("http://[fe80::1]:8080", "http://[fe80::1]:8080"),
    ],
)
def test_a_url_is_brought_into_one_form(given: str, url: str) -> None:
    assert config.backend_url(given) == url
    assert config.router_url(given) == url


@pytest.mark.parametrize(
    "given",
    [
        *("", "127.0.0.1:8080", "studio", "//studio", "ftp://x", "http://", "http://:80", "http://x?y", "http://x/#y"),
        *("http://[", "http://x:y", "http://x:99999", "http://x:-1", "http://x:0"),
    ],
)
def test_what_is_no_url_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(ConfigError, match="--router-url"):
        config.router_url(given)


@pytest.mark.parametrize(
    ("given", "url", "key"),
    [
        ("http://:s3cret@127.0.0.1:8765", "http://127.0.0.1:8765", "s3cret"),
        ("http://s3cret@127.0.0.1:8765/v2/", "http://127.0.0.1:8765/v2", "s3cret"),
        ("https://:a%40b%2Fc%25@[fe80::1]", "https://[fe80::1]:443", "a@b/c%"),
        ("http://127.0.0.1:8765", "http://127.0.0.1:8765", ""),
        ("http://@127.0.0.1:8765", "http://127.0.0.1:8765", ""),
    ],
)
def test_a_model_servers_key_stands_in_its_url_and_is_kept_apart_from_it(given: str, url: str, key: str) -> None:
    assert config.backend_url(given) == url
    assert config.backend_key(given) == key
    assert config.backend_keys([given, "http://127.0.0.1:1"]) == ({url: key} if key else {})


@pytest.mark.parametrize(
    "given",
    [
        *("http://me:s3cret@x", "http://:s3cret%20@x", "http://:s3cret%C3%A9@x", "http://:s3cret%0A@x"),
        *("ftp://:s3cret@x", "http://:s3cret@", "http://:s3cret@x:99999", "http://:s3cret@[", ":s3cret@x:8080"),
        *("http://:s3cret@x?y", "http://:s3cret#1@x", "http://:s3cret/1@x:1", "http//:s3cret@x"),
    ],
)
def test_a_key_that_cannot_be_used_is_not_shown_either(given: str) -> None:
    with pytest.raises(ConfigError, match="--backend-url") as refused:
        config.backend_key(given)
    assert "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is None  # a traceback would show it


def test_settings_do_not_show_a_model_servers_key() -> None:
    settings = config.load(NodeSettings, {}, {"HERD_NODE_BACKEND_URL": "http://:s3cret@127.0.0.1:8765"})
    assert settings.backend_url == ("http://:s3cret@127.0.0.1:8765",)
    assert "s3cret" not in repr(settings)


def test_the_certificate_of_a_router_is_named_by_its_digest_or_not_at_all() -> None:
    name = "HERD_ROUTER_FINGERPRINT"
    assert config.asked_certificate({}) is None
    assert config.asked_certificate({name: ""}) is None
    assert config.asked_certificate({name: "0F" * 32}) == b"\x0f" * 32


@pytest.mark.parametrize("given", ["x", "0f" * 31, "0f" * 33, "0f " * 31])
def test_what_is_no_digest_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="HERD_ROUTER_FINGERPRINT must be a SHA-256: 64 hexadecimal digits"):
        config.asked_certificate({"HERD_ROUTER_FINGERPRINT": given})
