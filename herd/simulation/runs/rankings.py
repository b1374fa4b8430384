"""How a router may rank its nodes, by the names that `--scorer` has."""

from collections.abc import Mapping

from herd.errors import ConfigError
from herd.policy.placement import Ranking, place

USUAL = "seven-signals"
RANKINGS: Mapping[str, Ranking] = {USUAL: place}


def ranking_of(name: str) -> Ranking:
    """The ranking of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in RANKINGS:
        raise ConfigError(f"the simulator has no scorer {name}: take {' or '.join(RANKINGS)}")
    return RANKINGS[name]
