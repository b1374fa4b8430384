"""Whether a model fits the memory that it would run in, and what has to go for it."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from herd.policy.loads import NodeLoad
from herd.policy.values import MemoryKind, ModelView, NodeView, Reason, made
from herd.types import Bytes, GiB, Tokens, Workload

# The share of a machine's memory that models may take beside its owner, by what the owner does with it: the product's
# promise. Where GPUs have a memory of their own nothing of the owner's lives in it but what is not free anyway.
CEILINGS = {Workload.IDLE: 0.9, Workload.LIGHT: 0.8, Workload.MODERATE: 0.5, Workload.HEAVY: 0.25}

# Kind of the reason of a node whose programs are stalled for want of memory: whatever is measured, a load finds none.
MEMORY_PRESSURE = "memory-pressure"

# Ollama's default context by the video memory of the machine (`envconfig` and `server/routes.go`, 2026).
_DEFAULT_CONTEXTS = ((47 * GiB, Tokens(262_144)), (23 * GiB, Tokens(32_768)), (0, Tokens(4_096)))


@dataclass(frozen=True, slots=True)
class Residency:
    """How much memory a model was seen to take, and with which context and how many slots."""

    size: Bytes
    context: Tokens
    slots: int


def default_context(node: NodeView) -> Tokens:
    """The context of a load when the request names none: as declared, else by Ollama's rule; 0 for unknown memory."""
    if node.context or not node.memory.total:
        return node.context
    video = 0 if node.hardware.kind is MemoryKind.RAM else node.memory.total
    return next(context for least, context in _DEFAULT_CONTEXTS if video >= least)


def need(model: ModelView, context: Tokens, residency: Residency | None) -> Bytes:
    """Bytes that the model takes with this context; 0 when neither its size nor a residency is known.

    As it was seen anywhere, corrected for the keys and values of each slot; else the weights, and those. Where a token
    does not take what its file says, because its server keeps it in fewer bits, or has more slots than could be read,
    or where that is not known, all beyond the weights is taken to grow and to shrink with the context.
    """
    cells = context * model.slots
    if residency is None:
        return Bytes(model.size + cells * model.kv_per_token) if model.size else Bytes(0)
    seen = residency.context * residency.slots
    beyond = max(0, residency.size - model.size)
    scaled = residency.size - beyond + beyond * cells // seen
    corrected = residency.size + (cells - seen) * model.kv_per_token
    if not model.kv_per_token or residency.size - seen * model.kv_per_token < model.size:
        return Bytes(scaled)
    return Bytes(min(scaled, corrected) if cells < seen else corrected)


class Room(NamedTuple):
    """Bytes that a load could have on a node: at once, and once nothing else there is in use."""

    now: int
    later: int


@dataclass(frozen=True, slots=True)
class Budget:
    """A node's memory as a load of one model finds it. All in bytes."""

    most: int  # with no other model there but those that are pinned, under the ceiling
    others: tuple[tuple[str, Bytes], ...]  # what the models take that would have to go, by canonical name
    free: int = 0  # what nothing takes

    def room(self, key: str, held: NodeLoad) -> Room:
        """What a load of the model `key` could have, given the tickets and the loads under way.

        What the model itself takes now it gives back when it is loaded anew.
        """
        later = self.most
        if held.reserved:
            later -= held.reserved
            if key in held.reservations:
                later += held.reservations[key].size
        busy = 0
        if held.models:
            for other, taken in self.others:
                if other in held.models:
                    busy += taken
        return made(Room, (later - busy, later))


NO_ROOM = Budget(0, ())


def budget(key: str, size: Bytes, node: NodeView, pinned: tuple[str, ...] = ()) -> Budget:
    """The memory that a load of `size` bytes of the model `key` finds on a node whose `pinned` models must stay.

    So do those of programs that agents start: they go by themselves, and for nobody.
    What no GPU of the node could hold, nor all together, is spread over them and the RAM.
    """
    if pressure(node) is not None:
        return NO_ROOM
    memory = node.memory
    spill = memory.spill if size > memory.total else 0
    most = memory.total + spill
    if owners := ceiling(node):
        most = min(most, owners)
    residents = [(name, view.size_resident) for name, view in node.models.items() if view.resident]
    whole = memory.free + spill + sum([taken for _, taken in residents])
    fixed = [name for name, _ in residents if name != key and (name in pinned or node.models[name].loads_at_once)]
    stays = sum([taken for name, taken in residents if name in fixed])
    others = tuple([pair for pair in residents if pair[0] != key and pair[0] not in fixed])
    return Budget(min(most, whole) - stays, others, memory.free + spill)


def ceiling(node: NodeView) -> Bytes:
    """What models may take of the node's memory beside its owner; 0: all of it."""
    if node.hardware.kind is MemoryKind.VIDEO or node.workload is None:
        return Bytes(0)
    return Bytes(int(node.memory.machine * CEILINGS[node.workload]))


def pressure(node: NodeView) -> Reason | None:
    """Why the node loads nothing, whatever is measured of its memory; None when it does."""
    if not node.reasons:
        return None
    return next((reason for reason in node.reasons if reason.kind == MEMORY_PRESSURE), None)


def roomier(before: NodeView, after: NodeView) -> bool:
    """Whether a node has more memory for loads than it had."""
    if pressure(after) is not None:
        return False
    highest, higher = ceiling(after) or math.inf, ceiling(before) or math.inf
    return after.memory.free > before.memory.free or highest > higher or pressure(before) is not None


def gib(size: float) -> str:
    """A size for people."""
    return f"{size / GiB:.1f} GiB"
