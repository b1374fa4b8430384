"""Stage 2: how well a node suits a request, as named signals that add up to points.

`look` and `points` run once for every node in every placement, some thousand times a second in a large fleet: what does
not change between two reports is worked out beforehand, in `prospects`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from herd.policy.loads import NodeLoad
from herd.policy.memory import gib, pressure
from herd.policy.pace import USUAL_ANSWER, crowded, work_rate
from herd.policy.prospects import Prospect, needed_for
from herd.policy.values import Ask, NeededLoad, Reason, made
from herd.types import Bytes, NodeId, Seconds, Tokens, Unit

# The product's promises ("up to"): docs/routing.md explains each.
THERMAL_RESIDENT = 50.0
THERMAL_LOADING = 40.0
THERMAL_UNLOADED = 30.0
THERMAL_ON_DISK = 10.0
MEMORY_FIT_MAX = 20.0
QUEUE_DEPTH_MAX = 30.0
WAIT_MAX = 25.0
CONTEXT_FIT_MAX = 10.0
AFFINITY_MAX = 10.0

PAGE_CACHE_S = 1800.0  # a file that was read so recently is still in the page cache, mostly
WAIT_HALF_S = 10.0  # a wait that costs half of what waits can cost

# Of a prompt that is cached whole the last token is read all the same: its answer follows from it.
LEAST_READ = 1
_TOKEN = Unit.TOKEN  # to look it up in its class takes three times as long

# A request for which models in use would have to go waits so long for them to end by themselves, and as long as the
# load takes: so a machine spends at most half its time on changing models. But it waits for no more than half of the
# time for which requests are held.
LEAST_PATIENCE_S, MOST_PATIENCE_S = 5.0, 15.0


@dataclass(frozen=True, slots=True)
class Moment:
    """When, and for whom, nodes are looked at."""

    now: Seconds  # monotonic
    waited: Seconds = Seconds(0.0)  # by the request so far
    answer: float = float(USUAL_ANSWER)  # tokens to expect of the model's answer, or other work in its unit
    favourite: NodeId | None = None  # the node that served the conversation last
    cached: Tokens = Tokens(0)  # of the prompt, that its prefix cache is expected to hold
    tried: tuple[NodeId, ...] = ()  # nodes of which a request tries now whether the model, or the link, works again


class Outlook(NamedTuple):
    """What a request would find on a node."""

    one: Prospect
    held: NodeLoad  # against the node
    tickets: int  # of those, for the model
    wait: float  # seconds until it would start
    work: float  # seconds that it then takes
    thermal: float
    fit: float
    context: Tokens  # that it would run with; 0: unknown
    prefill: float  # seconds of the work for reading the prompt
    reload: bool = False  # a resident model has to be loaded anew, for a larger context
    load: NeededLoad | None = None


class Crowded(NamedTuple):
    """There is room once models in use have ended; `patience` is how long a request waits before they are made to.

    The outlook is that of a node on which they have ended: `made_to_end` adds what they take until then.
    """

    outlook: Outlook
    reason: Reason
    patience: Seconds


def look(ask: Ask, one: Prospect, held: NodeLoad, moment: Moment) -> Outlook | Crowded | Reason:
    """What the request would find there; or why it finds no memory."""
    model, pace = one.model, one.pace
    tickets, wait, factor, per_request, crowd = 0, 0.0, 1.0, False, None
    if ask.unit is _TOKEN:
        prompt: int = ask.prompt_tokens
        if moment.cached and one.node.id == moment.favourite and model.resident:
            prompt = max(prompt - moment.cached, LEAST_READ)
        prefill = prompt / pace.prefill
        decode = (moment.answer if ask.max_tokens is None else min(moment.answer, ask.max_tokens)) / pace.decode
    else:
        prefill, (decode, crowd), per_request = 0.0, _other_work(ask, one, moment), model.loads_per_request
    work = prefill + decode
    if held.models:
        others = len(held.models)
        load = held.models.get(one.key)
        if load is not None:
            tickets = load.outstanding
            if tickets >= model.limit:
                wait = load.ahead(model.limit, moment.now)
            streams = min(tickets + 1, model.limit)
            if streams > 1:
                prefill *= crowded(pace.prefill_crowd, streams)
                work = prefill + decode * crowded(crowd or pace.decode_crowd, streams)
            others -= 1
        if others:  # models that run at the same moment share the machine
            factor = 1.0 + others
            wait *= factor
            work *= factor
            prefill *= factor
    if per_request:
        return _run_for_it(ask, one, held, moment.now, (tickets, wait, work, prefill))
    wants = ask.num_ctx or 0
    if held.reservations and one.key in held.reservations:
        loading = held.reservations[one.key]
        if not (loading.context and wants > loading.context):
            wait += max(0.0, loading.done - moment.now)
            thermal, fit, context = THERMAL_LOADING, MEMORY_FIT_MAX, loading.context
            return made(Outlook, (one, held, tickets, wait, work, thermal, fit, context, prefill, False, None))
    elif model.resident and not (model.context and wants > model.context) and not held.leaving:
        thermal, fit, context = THERMAL_RESIDENT, MEMORY_FIT_MAX, model.context
        return made(Outlook, (one, held, tickets, wait, work, thermal, fit, context, prefill, False, None))
    return _with_load(ask, one, held, moment.now, (tickets, wait, work, prefill))


def _other_work(ask: Ask, one: Prospect, moment: Moment) -> tuple[float, tuple[float, ...]]:
    """Seconds of a picture or a transcription on its own, and how much longer it takes beside others.

    A program that is run for each request loads the model for each, for those that wait as well: to load is work then.
    """
    rate, crowd = work_rate(one.node.hardware, one.model, one.facts.learned, ask.unit)
    seconds = (moment.answer if ask.amount is None else ask.amount) / rate
    return seconds + one.pace.load if one.model.loads_per_request else seconds, crowd


def _run_for_it(
    ask: Ask, one: Prospect, held: NodeLoad, now: Seconds, so_far: tuple[int, float, float, float]
) -> Outlook | Crowded | Reason:
    """What it finds where a program is run for each request: that one runs says only that the memory is there, and that
    the model's file has been read. `look` has found tickets, wait, work and prefill so far.
    """
    if not one.model.resident and one.key not in held.reservations:
        return _with_load(ask, one, held, now, so_far)
    tickets, wait, work, prefill = so_far
    found = (one, held, tickets, wait, work, THERMAL_UNLOADED, MEMORY_FIT_MAX, Tokens(0), prefill, False, None)
    return made(Outlook, found)


def _with_load(
    ask: Ask, one: Prospect, held: NodeLoad, now: Seconds, so_far: tuple[int, float, float, float]
) -> Outlook | Crowded | Reason:
    """What it finds when the model has to be loaded for it; `look` has found tickets, wait, work and prefill so far."""
    tickets, wait, work, prefill = so_far
    context, size, there = (one.context, one.need, one.budget) if not ask.num_ctx else needed_for(ask.num_ctx, one)
    if one.node.reasons and (stalled := pressure(one.node)) is not None:
        return stalled
    fit, short, at_once = 0.0, False, 0
    memory = one.node.memory
    if size and memory.total:
        at_once, later = there.room(one.key, held)
        if at_once >= size:
            # What would go for it is loaded again sooner or later: only what nothing takes counts.
            unused = there.free + one.model.size_resident - held.reserved
            unused = min(at_once, unused)
            if unused > size:
                fit = MEMORY_FIT_MAX if unused >= 2 * size else MEMORY_FIT_MAX * (unused / size - 1.0)
        elif size > later or held.leaving:
            return _no_room(size, later, memory.total, memory.spill)
        elif one.model.loads_at_once:
            return _room_in_use(at_once, size)
        else:
            short = True
    takes: float = one.pace.load
    if held.reservations:  # one model loads at a time
        last = max([other.done for other in held.reservations.values()])
        takes += max(0.0, last - now)
    unloaded = one.facts.unloaded
    thermal = THERMAL_UNLOADED if unloaded is not None and now - unloaded < PAGE_CACHE_S else THERMAL_ON_DISK
    per_request = one.model.loads_per_request
    needed = made(NeededLoad, (context, size, takes, short, per_request))
    wait += takes - one.pace.load if per_request else takes
    found = (one, held, tickets, wait, work, thermal, fit, context, prefill, one.model.resident, needed)
    outlook = made(Outlook, found)
    if not short:
        return outlook
    patience = Seconds(min(max(LEAST_PATIENCE_S, one.pace.load), MOST_PATIENCE_S))
    return Crowded(outlook, _room_in_use(at_once, size), patience)


def made_to_end(crowded: Crowded, now: Seconds) -> Outlook:
    """What the request finds once what the other models there have to do is done, and they have made room."""
    found = crowded.outlook
    idle = _until_idle(found.one.key, found.held, now)
    load = found.load._replace(takes=found.load.takes + idle) if found.load is not None else None
    return found._replace(wait=found.wait + idle, load=load)


# The same few sentences are said of a node again and again until its memory changes. A few bytes each.
@lru_cache(maxsize=4096)
def _no_room(size: Bytes, later: int, total: Bytes, spill: Bytes) -> Reason:
    """Why there is no memory for a load, and will be none when other models have ended."""
    if size <= later:
        return Reason("memory-busy", "makes room for another model first")
    if size > total + spill:
        return Reason("too-large", f"has {gib(total)} for models, and it takes {gib(size)}")
    return Reason("memory", f"has {gib(max(0, later))} of memory for it, which takes {gib(size)}")


@lru_cache(maxsize=4096)
def _room_in_use(at_once: int, size: Bytes) -> Reason:
    """Why there is no memory for a load at once."""
    text = f"has {gib(max(0, at_once))} for it, which takes {gib(size)}, until other models have ended"
    return Reason("memory-busy", text)


def _until_idle(key: str, held: NodeLoad, now: Seconds) -> float:
    """Seconds until the other models on the node have done what they have to."""
    left = 0.0
    for name, other in held.models.items():
        if name != key:
            left += other.waiting + max(0.0, other.ends - other.running * now)
    return left


def points(ask: Ask, found: Outlook, best_other: float, favourite: NodeId | None) -> tuple[float, ...]:
    """The score's parts, in the order of `values.SIGNALS`.

    Args:
        ask: the request.
        found: what it would find on the node.
        best_other: seconds until the best other candidate would have answered; infinite when there is no other.
        favourite: the node that served the conversation last.
    """
    one, held, tickets, wait, work, thermal, fit, context, _, reload, _ = found
    late = wait + work - best_other
    # x / (1 + x) rises smoothly, so that two busy nodes still differ, and never passes the cap.
    pressure = held.outstanding / one.model.limit
    filled = pressure / (1.0 + pressure)
    tokens = ask.prompt_tokens + (ask.max_tokens or 0)
    if reload:
        context_fit = 0.0
    elif tokens <= context:
        context_fit = CONTEXT_FIT_MAX
    else:
        context_fit = CONTEXT_FIT_MAX * (context / tokens if context else 0.5)
    return (
        thermal,
        fit,
        -QUEUE_DEPTH_MAX * filled,
        -WAIT_MAX * wait / (WAIT_HALF_S + wait),
        one.role - one.surplus * filled,
        one.trend,
        context_fit,
        -late if late > 0.0 else 0.0,
        AFFINITY_MAX / (1 + tickets) if favourite is not None and one.node.id == favourite else 0.0,
        one.degraded,
    )
