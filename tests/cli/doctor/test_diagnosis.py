"""What a doctor makes of facts: each fault has a finding that names it, and says what to do."""

from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from herd.cli.doctor.diagnosis import (
    AgentFacts,
    Facts,
    FileTrouble,
    Finding,
    Grade,
    RouterFacts,
    ServerFacts,
    examine,
    exit_code,
)
from herd.cli.doctor.view import as_document, findings
from herd.net.mdns import Heard
from herd.net.probing import Link, Listener
from herd.protocols.discovery import RouterAddress
from herd.types import GiB, RouterId
from tests.cli.statuses import model, node, reason, status

URL = "http://192.168.1.10:11435"
INFO = {
    "router_id": "r1",
    "version": "0.1.0",
    "link_port": 11436,
    "protocol_versions": [1],
    "link_tls": False,
    "join_token": False,
}
FOUND = RouterAddress(("192.168.1.10", "fd00::1"), 11435, 11436, RouterId("r1"))
ROUTER = RouterFacts(
    URL,
    "heard by mDNS",
    INFO,
    ahead_s=0.4,
    status=status(node("den", model("llama3.2:3b"))),
    link=Link("192.168.1.10 port 11436"),
)
SHOWN: dict[str, Any] = {"name": "den", "linked": True, "router_id": "r1", "pauses": [], "trouble": ""}
AGENT = AgentFacts("agents", used=True, running=True, shown=SHOWN)
OLLAMA = ServerFacts("http://127.0.0.1:11434", "Ollama", "0.9.1", (("llama3.2:3b", 2 * GiB), ("qwen3:8b", 5 * GiB)))
WELL = Facts(
    version="0.1.0",
    protocol_versions=(1,),
    hearing=Heard(("192.168.1.20",), (FOUND,)),
    router=ROUTER,
    agent=AGENT,
    servers=(OLLAMA,),
    memory=16 * GiB,
)


def router(**changes: Any) -> Facts:
    return replace(WELL, router=replace(ROUTER, **changes))


def info(**changes: Any) -> Facts:
    return router(info={**INFO, **changes})


def agent(**changes: Any) -> Facts:
    return replace(WELL, agent=replace(AGENT, **changes))


def shown(**changes: Any) -> Facts:
    return agent(shown={**SHOWN, **changes})


def server(**changes: Any) -> Facts:
    return replace(WELL, servers=(replace(OLLAMA, **changes),))


def token(held: bool, wanted: bool, trouble: str = "") -> Facts:
    """A machine whose agent has not joined."""
    facts = info(join_token=wanted)
    lost = replace(AGENT, shown={**SHOWN, "linked": False, "trouble": "it is so"}, token=held)
    return replace(facts, router=replace(facts.router, link=Link("", wrong_token=trouble)), agent=lost)


AWAY = router(info=None, trouble="no answer from http://127.0.0.1:11435", link=None, status=None, ahead_s=None)
GONE = node("a", state="offline", reasons=[reason("offline", "is gone")])
NO_OLLAMA = server(trouble="no model server answers")
TAKEN = (Listener(11434, "nginx", 3), Listener(11435, "caddy", 4), Listener(11436, "", None))


def test_where_all_is_well_every_check_says_so() -> None:
    found = examine(WELL)
    assert {finding.grade for finding in found} == {Grade.OK}
    assert [finding.check for finding in found] == [
        *("router", "mdns", "versions", "link", "token", "clock"),
        *("agent", "model server", "memory", "files", "fleet"),
    ]
    assert exit_code(found) == 0


@pytest.mark.parametrize(
    ("facts", "check", "grade", "seen", "advice"),
    [
        (AWAY, "router", "failed", "no answer from http://127.0.0.1:11435 (heard by mDNS)", "--router-url http://ITS"),
        (
            router(info=None, trouble="t", otherwise="it speaks HTTPS: ask with --router-url https://x", link=None),
            "router",
            "failed",
            "t (",
            "https://x",
        ),
        (router(trouble="not by http", otherwise="by https"), "router", "warning", "not by http", "by https"),
        (router(status=None, refusal="it wants a key"), "router", "warning", "does not tell: it wants a key", ""),
        (replace(WELL, hearing=Heard(("10.0.0.2",))), "mdns", "warning", "no router was heard on 10.0.0.2", "5353"),
        (replace(WELL, hearing=Heard((), trouble="no network")), "mdns", "warning", "no network", "--router-url"),
        (
            replace(WELL, hearing=Heard(("x",), (FOUND, replace(FOUND, router_id=RouterId("r2"))))),
            "mdns",
            "warning",
            "2 routers were heard: r1 at 192.168.1.10, r2 at 192.168.1.10",
            "stop the others",
        ),
        (info(protocol_versions=[2, 3]), "versions", "failed", "speaks version 2, 3, and Herd here 1", "update"),
        (info(protocol_versions="x"), "versions", "failed", "speaks version none", "update"),
        (info(version="0.2.0"), "versions", "warning", "the router is herd 0.2.0, and this machine has 0.1.0", "older"),
        (router(link=Link("h port 1", unreachable="no answer")), "link", "failed", "h port 1: no answer", "firewall"),
        (router(link=Link("h port 1", wrong_tls="none")), "link", "failed", "is not without TLS", "restart herd"),
        (router(link=Link("h port 1", stranger="It is another.")), "link", "failed", "It is another.", ""),
        (token(held=False, wanted=True), "token", "warning", "wants a join token, and the settings", "--join-token"),
        (token(held=True, wanted=False), "token", "failed", "asks for no join token", "the same --join-token"),
        (token(held=True, wanted=True), "token", "ok", "holds the join token of this machine", ""),
        (token(True, True, "They differ."), "token", "failed", "They differ.", ""),
        (info(join_token=True), "token", "ok", "has joined, so its join token is right", ""),
        (router(ahead_s=90.4), "clock", "warning", "90 s ahead of this machine's", "NTP"),
        (router(ahead_s=-3600.0), "clock", "warning", "3600 s behind this machine's", "NTP"),
        (agent(trouble="herd.toml is not valid TOML"), "agent", "failed", "herd.toml is not valid TOML", ""),
        (agent(used=False, running=False, shown=None), "agent", "ok", "no agent has run here (agents)", "herd-node"),
        (agent(running=False, shown=None), "agent", "warning", "herd-node does not run on agents", "start herd-node"),
        (shown(linked=False, trouble="wrong token"), "agent", "failed", "den has no router: wrong token", ""),
        (shown(linked=False), "agent", "failed", "no router was found yet", "--router-url"),
        (shown(router_id="r2"), "agent", "warning", "joined to another router, r2", "--router-url"),
        (
            shown(pauses=[{"kind": "meeting", "text": "is in a meeting", "since": None}]),
            "agent",
            "warning",
            "this machine is in a meeting",
            "ends by itself",
        ),
        (
            shown(pauses=[{"kind": "manual", "text": "is paused by hand"}]),
            "agent",
            "warning",
            "is paused by hand",
            "herd-node resume",
        ),
        (server(trouble="no model server answers at X"), "model server", "failed", "answers at X", "ollama serve"),
        (server(models=()), "model server", "warning", "Ollama 0.9.1 at http://127.0.0.1:11434 has no models", "pull"),
        (server(context="4096"), "model server", "ok", "2 models, context 4096 (OLLAMA_CONTEXT_LENGTH)", ""),
        (replace(WELL, memory=1 * GiB), "memory", "failed", "the smallest is llama3.2:3b with 2.0 GiB", "smaller"),
        (replace(WELL, memory=4 * GiB), "memory", "warning", "of 4.0 GiB for models these need more: qwen3:8b", ""),
        (replace(WELL, files=(FileTrouble(True, "is damaged", "do"),)), "files", "failed", "is damaged", "do"),
        (replace(WELL, files=(FileTrouble(False, "is open", "chmod"),)), "files", "warning", "is open", "chmod"),
        (replace(AWAY, listeners=TAKEN), "ports", "failed", "port 11435 of this machine is taken by caddy (", "--port"),
        (replace(AWAY, listeners=TAKEN), "ports", "failed", "port 11436", "--link-port"),
        (replace(NO_OLLAMA, listeners=TAKEN), "ports", "warning", "is taken by nginx (process 3)", "OLLAMA_HOST"),
        (router(status=status()), "fleet", "failed", "no node has joined", "herd-node"),
        (
            router(status=status(node("den", model("m")), GONE)),
            "fleet",
            "warning",
            "a is gone",
            "herd doctor on that machine",
        ),
        (router(status={"nodes": 5}), "fleet", "warning", "in another way: is it of another version?", ""),
    ],
)  # fmt: skip
def test_each_fault_is_found_and_something_is_said_to_do(
    facts: Facts, check: str, grade: str, seen: str, advice: str
) -> None:
    found = [each for each in examine(facts) if each.check == check and seen in each.seen]
    assert [each.grade for each in found] == [grade], examine(facts)
    assert advice in found[0].advice
    assert exit_code(found) == (grade == "failed")


def test_what_was_not_looked_at_is_not_judged() -> None:
    facts = replace(AWAY, hearing=None, servers=(), memory=0)
    assert {finding.check for finding in examine(facts)} == {"router", "agent", "files"}
    old = {key: value for key, value in INFO.items() if key != "join_token"}
    checks = {finding.check for finding in examine(router(info=old, ahead_s=None))}
    assert checks & {"token", "clock"} == set()  # an older router does not tell, nor does every proxy


def test_a_router_on_its_own_machine_needs_no_model_server_there() -> None:
    facts = replace(NO_OLLAMA, agent=AgentFacts("agents"))
    assert exit_code(examine(facts)) == 0


def test_ports_that_herd_itself_has_are_not_taken() -> None:
    own = (Listener(11435, "python", 1, of_herd=True), Listener(11436, "python", 1, of_herd=True))
    assert "ports" not in {finding.check for finding in examine(replace(AWAY, listeners=own))}
    assert "ports" not in {finding.check for finding in examine(replace(WELL, listeners=TAKEN))}


def test_strangers_texts_are_shown_and_not_obeyed() -> None:
    facts = replace(info(version="\x1b[2J"), agent=replace(AGENT, shown={**SHOWN, "linked": False, "trouble": "a\nb"}))
    facts = replace(facts, servers=(replace(OLLAMA, models=(("m\x1b", 1),), version="\x07"),))
    facts = replace(facts, router=replace(facts.router, refusal="\x1b[2J", link=Link("h", stranger="a\nb")))
    assert all(finding.seen.isprintable() and finding.advice.isprintable() for finding in examine(facts))


def test_findings_are_lines_with_what_to_do_below_and_a_sum() -> None:
    found = (
        Finding("router", Grade.OK, "it answers"),
        Finding("mdns", Grade.WARNING, "none was heard on [red]", "name it"),
        Finding("agent", Grade.FAILED, "it is alone"),
    )
    console = Console(width=60, no_color=True)
    with console.capture() as captured:
        console.print(findings(found))
    assert [line.rstrip() for line in captured.get().splitlines()] == [
        "ok       router  it answers",
        "warning  mdns    none was heard on [red]",
        "                   name it",
        "failed   agent   it is alone",
        "",
        "1 failed, 1 to look at",
    ]
    with console.capture() as captured:
        console.print(findings(found[:1]))
    assert captured.get().rstrip().endswith("nothing is wrong")


def test_findings_as_json() -> None:
    found = (Finding("router", Grade.OK, "it answers"), Finding("agent", Grade.FAILED, "it is alone", "help it"))
    assert as_document(found) == {
        "ok": False,
        "findings": [
            {"check": "router", "grade": "ok", "seen": "it answers", "advice": ""},
            {"check": "agent", "grade": "failed", "seen": "it is alone", "advice": "help it"},
        ],
    }
    assert as_document(found[:1])["ok"] is True
