"""Names of nodes: what people see, unique in the fleet."""

from collections.abc import Collection

from herd.types import NodeName

# Names stand in answers' headers, in logs and in tables; a host name has at most 63 characters.
MAX_NAME = 64


def readable(wanted: str) -> NodeName:
    """`wanted` on one line, without what cannot be printed, and no longer than a table has room for; perhaps empty."""
    printable = "".join(character if character.isprintable() else " " for character in wanted)
    return NodeName(" ".join(printable.split())[:MAX_NAME].rstrip())


def unique_name(wanted: NodeName, taken: Collection[NodeName]) -> NodeName:
    """`wanted`, or the first of "wanted-2", "wanted-3" ... that is free."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = NodeName(f"{wanted}-{number}")
    return name
