"""What this machine is called."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

# A resolver that answers does so within milliseconds; one that does not shall not keep the router from starting.
RESOLVER_S = 1.0


def own_names(
    host_name: Callable[[], str] = socket.gethostname, full_name: Callable[[], str] = socket.getfqdn
) -> tuple[str, ...]:
    """The host name as it is set, without its domain, with mDNS's, and with the one that the resolver has for it.

    In lower case. A resolver may be anybody's on the network: of what it says only the domain counts.
    """
    name = host_name().lower().rstrip(".")
    short = name.partition(".")[0]
    said: list[str] = []

    def ask() -> None:
        with suppress(OSError, UnicodeError):  # of a name that is none for a resolver
            said.append(full_name().lower().rstrip("."))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(RESOLVER_S)
    full = [each for each in said if each.startswith(f"{short}.")]
    local = f"{short}.local" if short else ""
    return tuple(dict.fromkeys(each for each in (name, short, local, *full) if each))
