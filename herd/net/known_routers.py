"""The routers that an agent has joined over TLS, and by which certificate it knows each: trust on first use."""

import json
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from herd.errors import ConfigError, JoinRefused
from herd.net.identity import replace_file
from herd.protocols.discovery import RouterAddress

logger = logging.getLogger(__name__)

KNOWN_ROUTERS = "known-routers.json"

# A house has one router, known by its id and by the URLs that people wrote down for it. A router that were another at
# each link must not fill the disk, and none that is known may be forgotten for it.
MAX_NAMES = 64
MAX_ID = 64  # characters of a router id that count; a real one has 16


class KnownRouters:
    """What `known-routers.json` in an agent's data directory holds: a certificate for each name of a router.

    Args:
        file: where it is kept; None to remember until the process ends.

    Raises:
        ConfigError: the file cannot be read. It is never taken for an empty one, which would trust anybody again.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._known: dict[str, str] = _read(file) if file is not None else {}  # certificates in hexadecimal digits

    def certificates(self, names: Collection[str]) -> set[str]:
        """The certificates that these names are known by, in hexadecimal digits."""
        return {self._known[name] for name in names if name in self._known}

    @property
    def place(self) -> str:
        """Where a person can make it forget, to be put after "delete"."""
        return f"{self._file} on this machine" if self._file is not None else "what this agent remembers"

    def remember(self, names: Collection[str], certificate: bytes) -> None:
        """Know these names by this certificate; it is on the disk when this returns, or the log says why not."""
        certain = dict.fromkeys(names, certificate.hex())
        known = self._known | certain
        if known == self._known:
            return
        if len(known) > MAX_NAMES:
            logger.warning("this agent knows %d routers, and does not remember more: delete %s", MAX_NAMES, self.place)
            return
        self._known = known
        if self._file is not None:
            try:
                replace_file(self._file, json.dumps(known, indent=2).encode() + b"\n")
            except OSError as error:
                reason = error.strerror or error
                logger.warning("the router's certificate is not remembered: %s: %s", self._file, reason)


class Expectation:
    """What an agent expects of the router that it is about to join.

    The router's id and the URL that a person wrote are both names of it: an id that mDNS or `/herd/v1/info` tells is
    but a claim, and a false router at a known URL would else claim an id that nobody knows.

    Args:
        known: the routers that it has joined.
        address: where it dials, and what is claimed of who is there.
        proven: the router proves otherwise who it is: by the join token, or an authority vouches for it. Then it may
            have a new certificate, but it still has to have one.
    """

    def __init__(self, known: KnownRouters, address: RouterAddress, *, proven: bool) -> None:
        self._known = known
        self._names: set[str] = set()
        if address.router_id:
            self._names.add(_id_name(address.router_id))
        if address.url:
            self._names.add(f"at {address.url.partition('://')[2]}")
        self._proven = proven

    def check(self, certificate: bytes, router_id: str = "") -> None:
        """Raise JoinRefused if this cannot be that router.

        Args:
            certificate: SHA-256 of the one that it has shown; empty when it does not speak TLS.
            router_id: who it says it is, once it has.
        """
        if router_id:
            self._names.add(_id_name(router_id))
        known = self._known.certificates(self._names)
        if not known:
            return
        if not certificate:
            raise JoinRefused(
                "The router does not speak TLS, and did when this agent joined it before. If that is meant to be, "
                f"delete {self._known.place}; if not, somebody may pose as the router.",
                "tls",
            )
        if not self._proven and known != {certificate.hex()}:
            raise JoinRefused(
                "The router shows another certificate than the one that this agent knows it by. If it has a new one, "
                f"delete {self._known.place}; if not, somebody may pose as the router. With the same --join-token at "
                "both, a new certificate needs nothing.",
                "certificate",
            )

    def met(self, certificate: bytes) -> None:
        """The router was all that was expected: know it by its certificate."""
        if certificate:
            self._known.remember(self._names, certificate)


def _id_name(router_id: str) -> str:
    return f"id {router_id[:MAX_ID]}"


def _read(file: Path) -> dict[str, str]:
    try:
        known: Any = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"Cannot read {file}: {error.strerror or error}.") from error
    except (ValueError, RecursionError):
        known = None
    if isinstance(known, dict) and all(isinstance(value, str) for value in known.values()):
        return known
    raise ConfigError(
        f"{file} is damaged. Delete it to have this agent trust the certificate of the next router it joins."
    )
