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

    It is read anew for each router that is joined: once a person has deleted it, nobody is known any more.

    Args:
        file: where it is kept; None to remember until the process ends.

    Raises:
        ConfigError: here, and from every call: the file cannot be read. It is never taken for an empty one, with which
            anybody would be trusted again.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._unsaved: dict[str, str] = {}
        self._read()

    @property
    def place(self) -> str:
        """What a person has to delete to make it forget."""
        return f"{self._file} on this machine" if self._file is not None else "what this agent remembers"

    def certificates(self, names: Collection[str]) -> set[str]:
        """The certificates that these names are known by, in hexadecimal digits."""
        known = self._read()
        return {known[name] for name in names if name in known}

    def remember(self, names: Collection[str], certificate: bytes) -> None:
        """Know these names by this certificate; it is on the disk when this returns, or the log says why not."""
        before = self._read()
        known = before | dict.fromkeys(sorted(names), certificate.hex())
        if known == before:
            return
        if len(known) > MAX_NAMES:
            logger.warning("%d routers are known, and no more are remembered: delete %s", MAX_NAMES, self.place)
            return
        self._unsaved = known
        if self._file is not None:
            try:
                replace_file(self._file, json.dumps(known, indent=2).encode() + b"\n")
                self._unsaved = {}
            except OSError as error:
                reason = error.strerror or error
                logger.warning("the router's certificate is not remembered: %s: %s", self._file, reason)

    def _read(self) -> dict[str, str]:
        return self._unsaved if self._file is None else _read(self._file) | self._unsaved


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
        self._claims = _id_names(address.router_id)
        self._names = {f"at {address.url.partition('://')[2]}"} if address.url else set()
        self._proven = proven

    def check(self, certificate: bytes) -> None:
        """Raise JoinRefused if this cannot be that router.

        Args:
            certificate: SHA-256 of the one that it has shown; empty when it does not speak TLS.
        """
        known = self._known.certificates(self._names | self._claims)
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

    def met(self, certificate: bytes, router_id: str) -> None:
        """It lets this agent in, and says who it is: if it can be, know it by its certificate. Raises JoinRefused.

        What others said of it is not remembered.
        """
        self._names |= _id_names(router_id)
        self.check(certificate)
        if certificate:
            self._known.remember(self._names, certificate)


def _id_names(router_id: str) -> set[str]:
    return {f"id {router_id[:MAX_ID]}"} if router_id else set()


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
