"""Keys, hosts and origins as a person writes them, checked before the router starts. No error shows a key."""

from re import ASCII
from re import compile as pattern

from herd.config import RouterSettings
from herd.errors import ConfigError
from herd.protocols.access import Access, Key, digest_of
from herd.protocols.origins import Hosts, Origins, is_address

MIN_KEY = 8  # characters: a router answers some 2,000 guesses a second, and six letters would last for two days
MAX_KEYS = 1000  # each request is compared with all of them, which takes a millisecond then
MAX_NAME = 64  # of a key; it stands in stories and in logs

_NAMED = pattern(rf"([A-Za-z0-9._-]{{1,{MAX_NAME}}})=(.*)", ASCII)
_KEY = pattern(r"[\x21-\x7e]+")  # what a header can carry without being changed on its way
_HOST = pattern(r"(\*\.)?[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?", ASCII)


def access_of(settings: RouterSettings, own_names: tuple[str, ...]) -> Access:
    """What the settings say of access. No error shows a key.

    Args:
        settings: of the router.
        own_names: what this machine is called, in lower case.

    Raises:
        ConfigError: a key, a host or an origin is none.
    """
    keys = tuple(_key(given, number) for number, given in enumerate(settings.api_key, 1))
    if len(keys) > MAX_KEYS:
        raise ConfigError(f"--api-key: at most {MAX_KEYS} keys are possible, not {len(keys)}")
    if len({key.digest for key in keys}) < len(keys):
        raise ConfigError("--api-key: two of the keys are the same one: whose would it be?")
    admin = None
    if settings.admin_key:
        _check_key(settings.admin_key, "--admin-key")
        admin = digest_of(settings.admin_key)
        if admin in {key.digest for key in keys}:
            raise ConfigError("--admin-key is one of --api-key too: every client could change the fleet")
    # Whoever binds a name expects to be reached by it, the router's own view among them.
    bound = () if not settings.host or is_address(settings.host) else (settings.host.lower().rstrip("."),)
    hosts = Hosts((*own_names, *bound), tuple(map(_allowed_host, settings.allowed_host)))
    return Access(keys, admin, settings.lan_admin, hosts, Origins(tuple(map(_allowed_origin, settings.allowed_origin))))


def key_of(given: str) -> str:
    """The key of an --api-key, without its name."""
    return _parted(given)[1]


def _key(given: str, number: int) -> Key:
    name, key = _parted(given)
    _check_key(key, f"--api-key of {name}" if name else f"--api-key (number {number})")
    return Key(name, digest_of(key))


def _parted(given: str) -> tuple[str, str]:
    """`name=key`, or a key alone. The padding of base64 at a key's end is no name's."""
    named = _NAMED.fullmatch(given)
    return (named[1], named[2]) if named is not None and named[2].strip("=") else ("", given)


def _check_key(key: str, where: str) -> None:
    if len(key) < MIN_KEY:
        raise ConfigError(f"{where} must have at least {MIN_KEY} characters")
    if not _KEY.fullmatch(key):
        raise ConfigError(f"{where} must consist of ASCII letters, digits and signs, without spaces")


def _allowed_host(given: str) -> str:
    host = given.lower().rstrip(".")
    if not _HOST.fullmatch(host):
        raise ConfigError(f"--allowed-host must be a name such as ai.example.com or *.example.com, not {given!r}")
    return host


def _allowed_origin(given: str) -> str:
    if given != "*" and (given.count("*") > 1 or "://" not in given or not given.isascii()):
        raise ConfigError(
            f'--allowed-origin must look like https://chat.example.com, with one "*" at most, not {given!r}'
        )
    return given.rstrip("/") if not given.endswith("://") else given
