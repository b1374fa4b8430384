"""Why a machine does not join, or a model is not served: from facts to findings, without looking at anything itself."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from herd.cli.process import printable
from herd.cli.remote.troubles import SERVING, troubles
from herd.cli.words import count_of, dated, gib, times_of
from herd.config import HTTP_PORT, LINK_PORT, OLLAMA_PORT
from herd.net.mdns import Heard
from herd.net.probing import Link, Listener

# Times in stories and pauses are read by people: who is further off than this sees the wrong ones.
CLOCK_S = 5.0
# Names in one sentence; of more it says how many there are.
MAX_NAMED = 5


class Grade(StrEnum):
    """How grave a finding is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    grade: Grade
    seen: str  # a sentence
    advice: str = ""  # what to do


@dataclass(frozen=True, slots=True)
class RouterFacts:
    """The router, as it looks from here. Troubles are sentences, empty where there is none."""

    url: str
    why: str  # this one is looked at
    info: Mapping[str, Any] | None = None
    trouble: str = ""  # why there is no info
    otherwise: str = ""  # how it can be reached instead
    ahead_s: float | None = None  # its clock, of this machine's; None: it does not say
    status: Mapping[str, Any] | None = None
    refusal: str = ""  # why there is no status
    link: Link | None = None


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """The agent of this machine."""

    data_dir: str
    used: bool = False  # an agent has run on it
    running: bool = False
    shown: Mapping[str, Any] | None = None  # what it shows of itself
    trouble: str = ""  # why it shows nothing, or its settings cannot be read
    token: bool = False  # the settings that can be seen from here hold a join token


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A model server that an agent here would use."""

    url: str
    kind: str = ""
    version: str = ""
    models: tuple[tuple[str, int], ...] = ()  # name and bytes on disk, 0 where that is not known
    context: str | None = None  # what the variable of its process says, if it can be read
    trouble: str = ""  # why it cannot be used


@dataclass(frozen=True, slots=True)
class FileTrouble:
    """Something wrong with a file or a directory of Herd's on this machine."""

    grave: bool
    what: str
    advice: str


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was looked at."""

    version: str  # of Herd here
    protocol_versions: tuple[int, ...]
    hearing: Heard | None  # None: mDNS was not listened to
    router: RouterFacts
    agent: AgentFacts
    servers: tuple[ServerFacts, ...] = ()
    memory: int = 0  # bytes that models could have at most: of the machine and its cards; 0: unknown
    files: tuple[FileTrouble, ...] = ()
    listeners: tuple[Listener, ...] = ()


def examine(facts: Facts) -> tuple[Finding, ...]:
    """What there is to say, in the order in which one looks for a fault."""
    checks = (_router, _mdns, _versions, _link, _token, _clock, _agent, _servers, _memory, _files, _ports, _fleet)
    found = [finding for check in checks for finding in check(facts)]
    # Some of it was said by whoever answers there.
    return tuple(replace(each, seen=printable(each.seen), advice=printable(each.advice)) for each in found)


def exit_code(findings: Sequence[Finding]) -> int:
    """1 when something failed, else 0."""
    return 1 if any(finding.grade is Grade.FAILED for finding in findings) else 0


def _ok(check: str, seen: str, advice: str = "") -> Finding:
    return Finding(check, Grade.OK, seen, advice)


def _warn(check: str, seen: str, advice: str = "") -> Finding:
    return Finding(check, Grade.WARNING, seen, advice)


def _fail(check: str, seen: str, advice: str = "") -> Finding:
    return Finding(check, Grade.FAILED, seen, advice)


# --- the router -------------------------------------------------------------------------------------------------------


def _router(facts: Facts) -> Iterator[Finding]:
    router = facts.router
    if router.info is None:
        advice = router.otherwise or (
            "start herd on one machine of the house; if it runs, name it with --router-url http://ITS-ADDRESS:11435, "
            "and see that no firewall on it closes the port"
        )
        yield _fail("router", f"{router.trouble} ({router.why})", advice)
        return
    who = f"herd {_text(router.info.get('version'))} with the id {_text(router.info.get('router_id'))}"
    yield _ok("router", f"{who} answers at {router.url} ({router.why})")
    if router.otherwise:
        yield _warn("router", router.trouble, router.otherwise)
    if router.refusal:
        yield _warn("router", f"how its fleet stands it does not tell: {router.refusal}")


def _mdns(facts: Facts) -> Iterator[Finding]:
    hearing = facts.hearing
    if hearing is None:
        return
    where = _some(hearing.addresses)
    by_url = "start herd-node with --router-url http://ROUTER:11435 where it is not heard"
    if hearing.trouble:
        yield _warn("mdns", f"routers cannot be heard on this network: {hearing.trouble}", by_url)
    elif not hearing.routers:
        advice = f"{by_url}: another subnet, a guest network or UDP port 5353 closed by a firewall keep it away"
        yield _warn("mdns", f"no router was heard on {where}", advice)
    elif len(hearing.routers) > 1:
        all_of_them = _some([f"{each.router_id} at {each.hosts[0]}" for each in hearing.routers])
        advice = (
            "an agent that has joined none takes the first that it hears: stop the others, or name one by --router-url"
        )
        yield _warn("mdns", f"{len(hearing.routers)} routers were heard: {all_of_them}", advice)
    else:
        (one,) = hearing.routers
        hosts = _some(one.hosts)
        yield _ok("mdns", f"router {one.router_id} was heard on {where}: it is at {hosts}, HTTP port {one.http_port}")


def _versions(facts: Facts) -> Iterator[Finding]:
    info = facts.router.info
    if info is None:
        return
    theirs = info.get("protocol_versions")
    spoken = [each for each in theirs if isinstance(each, int)] if isinstance(theirs, list) else []
    if not set(spoken) & set(facts.protocol_versions):
        seen = f"the router's link speaks version {_listed(spoken)}, and Herd here {_listed(facts.protocol_versions)}"
        yield _fail("versions", seen, "update the older of the two: pip install -U herd-fleet")
        return
    version = _text(info.get("version"))
    if version != facts.version:
        seen = f"the router is herd {version}, and this machine has {facts.version}"
        yield _warn("versions", f"{seen}; their links understand each other", "update the older of the two")
    else:
        yield _ok("versions", f"the router and this machine have herd {version}, link version {_listed(spoken)}")


def _link(facts: Facts) -> Iterator[Finding]:
    link, info = facts.router.link, facts.router.info
    if link is None or info is None:
        return
    kind = "with TLS" if info.get("link_tls") is True else "without TLS"
    if link.unreachable:
        advice = "agents need that port of the router's machine too: open it in its firewall (herd --link-port)"
        yield _fail("link", f"the link port cannot be reached: {link.place}: {link.unreachable}", advice)
    elif link.wrong_tls:
        advice = "something else, or an old router, has that port: restart herd, and see what listens there"
        yield _fail("link", f"the link at {link.place} is not {kind} as the router says: {link.wrong_tls}", advice)
    elif link.stranger:
        yield _fail("link", link.stranger)
    else:
        yield _ok("link", f"the link port answers at {link.place}, {kind}")


def _token(facts: Facts) -> Iterator[Finding]:
    link, info = facts.router.link, facts.router.info
    if info is None or "join_token" not in info:  # an older router does not say
        return
    wanted, held = info["join_token"] is True, facts.agent.token
    here = "the settings that can be seen here (flags of a running agent cannot)"
    linked = _linked(facts)
    if linked and wanted is not held:
        yield _ok("token", "the agent here has joined, so its join token is right")
    elif wanted and not held:
        advice = "start herd-node with --join-token and the router's own, or HERD_NODE_JOIN_TOKEN, or in its herd.toml"
        yield _warn("token", f"the router wants a join token, and {here} have none", advice)
    elif held and not wanted:
        advice = "start herd with the same --join-token, or herd-node without one"
        yield _fail("token", "the router asks for no join token, and this machine's agent joins none without", advice)
    elif not wanted:
        yield _ok("token", "the router wants no join token")
    elif link is not None and link.wrong_token:
        yield _fail("token", link.wrong_token)
    elif link is not None and not (link.unreachable or link.wrong_tls):
        yield _ok("token", "the router holds the join token of this machine")


def _clock(facts: Facts) -> Iterator[Finding]:
    ahead = facts.router.ahead_s
    if ahead is None:
        return
    if abs(ahead) <= CLOCK_S:
        yield _ok("clock", "the router's clock and this machine's agree")
        return
    side = "ahead of" if ahead > 0 else "behind"
    advice = "set the wrong one (NTP): times of pauses and stories would be read wrongly, and certificates refused"
    yield _warn("clock", f"the router's clock is {abs(ahead):.0f} s {side} this machine's", advice)


# --- this machine -----------------------------------------------------------------------------------------------------


def _linked(facts: Facts) -> bool:
    """The agent here has a link to the router that is looked at."""
    shown, info = facts.agent.shown, facts.router.info
    return bool(shown and info and shown.get("linked") and shown.get("router_id") == info.get("router_id"))


def _agent(facts: Facts) -> Iterator[Finding]:
    agent = facts.agent
    if agent.trouble:
        yield _fail("agent", agent.trouble)
    elif not agent.used:
        advice = "start herd-node here if this machine is to serve models; --data-dir names another directory"
        yield _ok("agent", f"no agent has run here ({agent.data_dir})", advice)
    elif not agent.running:
        advice = "start herd-node, and have the system start it with the machine; --data-dir names another directory"
        yield _warn("agent", f"herd-node does not run on {agent.data_dir}", advice)
    elif agent.shown is not None:
        yield _joined(facts, agent.shown)
        for pause in _dicts(agent.shown.get("pauses")):
            advice = "herd-node resume ends it" if pause.get("kind") == "manual" else "it ends by itself"
            yield _warn("agent", f"this machine {dated(_text(pause.get('text')), times_of(pause))}", advice)


def _joined(facts: Facts, shown: Mapping[str, Any]) -> Finding:
    name = _text(shown.get("name") or shown.get("wanted_name"))
    router, trouble = _text(shown.get("router_id")), _text(shown.get("trouble"))
    if not shown.get("linked"):
        why = f": {trouble}" if trouble else ": no router was found yet"
        advice = "" if trouble else "name the router: herd-node --router-url http://ROUTER:11435"
        return _fail("agent", f"the agent {name} has no router{why}", advice)
    if facts.router.info is not None and not _linked(facts):
        advice = "an agent stays with its router: start it with --router-url to have it join the one looked at here"
        return _warn("agent", f"the agent {name} is joined to another router, {router}", advice)
    return _ok("agent", f"the agent {name} is joined to router {router}")


_PULL = "ollama pull llama3.2:3b here, or herd pull MODEL --node NAME from anywhere"
# Tools fetch their models themselves.
_FETCH = {
    "mflux": "make an image with it here once: mflux-generate-z-image-turbo --prompt 'a red fox'",
    "mlx-qwen3-asr": "have it read a recording here once: mlx-qwen3-asr FILE",
}


def _servers(facts: Facts) -> Iterator[Finding]:
    agent, check = facts.agent, "model server"
    for server in facts.servers:
        who = f"{server.kind} {printable(server.version)}".strip()
        if server.trouble and agent.used:
            advice = "start Ollama here (ollama serve), or say what serves: herd-node --backend-url URL, or OLLAMA_HOST"
            yield _fail(check, server.trouble, advice)
        elif server.trouble:  # a router's own machine needs none
            yield _ok(check, server.trouble)
        elif not server.models:
            advice = _FETCH.get(server.kind, _PULL)
            yield _warn(check, f"{who} at {server.url} has no models", advice)
        else:
            context = f", context {printable(server.context)} (OLLAMA_CONTEXT_LENGTH)" if server.context else ""
            names = _some([name for name, _ in server.models])
            yield _ok(check, f"{who} at {server.url} has {count_of(len(server.models), 'model')}{context}: {names}")


def _memory(facts: Facts) -> Iterator[Finding]:
    sizes = [(size, name) for server in facts.servers for name, size in server.models if size]
    if not sizes or not facts.memory:
        return
    too_large = [name for size, name in sizes if size > facts.memory]
    size, name = min(sizes)
    if len(too_large) == len(sizes):
        seen = f"no model fits the {gib(facts.memory)} that models can have here: the smallest is {printable(name)}"
        yield _fail("memory", f"{seen} with {gib(size)}", "pull smaller ones, such as llama3.2:1b")
    elif too_large:
        yield _warn("memory", f"of {gib(facts.memory)} for models these need more: {_some(too_large)}")
    else:
        yield _ok("memory", f"every model fits the {gib(facts.memory)} that models can have here")


def _files(facts: Facts) -> Iterator[Finding]:
    for trouble in facts.files:
        yield Finding("files", Grade.FAILED if trouble.grave else Grade.WARNING, trouble.what, trouble.advice)
    if not facts.files:
        yield _ok("files", "data directories and settings can be used, and their secrets are their owner's")


def _ports(facts: Facts) -> Iterator[Finding]:
    if facts.router.info is None:
        for listener in facts.listeners:
            if listener.port in (HTTP_PORT, LINK_PORT) and not listener.of_herd:
                advice = f"stop it, or start herd with another --{'' if listener.port == HTTP_PORT else 'link-'}port"
                yield _fail("ports", f"port {listener.port} of this machine is taken by {_program(listener)}", advice)
    broken = [server for server in facts.servers if server.trouble and server.url.endswith(f":{OLLAMA_PORT}")]
    for listener in facts.listeners if broken else ():
        if listener.port == OLLAMA_PORT:
            advice = "stop it, or have Ollama listen elsewhere (OLLAMA_HOST, for herd-node too)"
            seen = f"port {OLLAMA_PORT}, where Ollama would be, is taken by {_program(listener)}"
            yield _warn("ports", seen, advice)


# --- the fleet --------------------------------------------------------------------------------------------------------


def _fleet(facts: Facts) -> Iterator[Finding]:
    status = facts.router.status
    if status is None:
        return
    try:
        found = troubles(status)
        ready = [node["name"] for node in status["nodes"] if node["state"] in SERVING]
        nodes = len(status["nodes"])
    except (LookupError, TypeError, AttributeError):
        yield _warn("fleet", "the router describes its fleet in another way: is it of another version?")
        return
    for trouble in found:
        yield Finding("fleet", Grade.FAILED if trouble.grave else Grade.WARNING, trouble.what, trouble.advice)
    if not found:
        yield _ok("fleet", f"{count_of(nodes, 'node')} and nothing wrong with them: {_some(ready)}")


# --- words ------------------------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    return printable(value) if isinstance(value, str) else ""


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _listed(versions: Any) -> str:
    return ", ".join(str(each) for each in versions) or "none"


def _some(names: Any) -> str:
    shown = [printable(str(name)) for name in names]
    more = f" and {len(shown) - MAX_NAMED} more" if len(shown) > MAX_NAMED else ""
    return ", ".join(shown[:MAX_NAMED]) + more


def _program(listener: Listener) -> str:
    name = printable(listener.program) or "a program of another user's"
    return f"{name} (process {listener.pid})" if listener.pid is not None else name
