"""The NodeProxy: liveness of the current link, and streams over it."""

import asyncio

from herd.actors.node_proxy import COMMAND_S, MAX_COMMANDS, NodeProxy, Opened, Unavailable
from herd.errors import LinkClosed, StreamFailed
from herd.protocols.messages import Result
from herd.runtime import ActorHandle, remote, stop
from herd.runtime.testing import virtual_time
from herd.types import LinkId, NodeState, StreamId
from tests.actors.doubles import FakeLinks, Witness, request_head, settled

ONE, TWO = LinkId(1), LinkId(2)


async def linked() -> tuple[ActorHandle, FakeLinks, ActorHandle]:
    """A NodeProxy whose link 1 has just come up, its links, and the node that it tells."""
    links, node = FakeLinks(), remote(Witness).remote()
    proxy = remote(NodeProxy).remote(links, node)
    proxy.link_up.tell(ONE)
    await settled()
    links.hear(1)
    return proxy, links, node


async def until(seconds: float) -> None:
    await asyncio.sleep(seconds - asyncio.get_running_loop().time())
    await settled()


@virtual_time
async def test_silence_degrades_after_15_seconds_and_disconnects_after_30() -> None:
    proxy, links, node = await linked()
    await until(14.9)
    assert await node.heard.remote() == []
    await until(15.1)
    assert await node.heard.remote() == [("silence", (NodeState.DEGRADED,))]
    await until(29.9)
    assert links.goodbyes == []
    await until(30.1)
    assert links.goodbyes == [(ONE, "silent")]
    proxy.link_down.tell(ONE, "silent")
    await settled()
    assert await node.heard.remote() == [("link_down", ("silent",))]
    await stop(proxy)
    await stop(node)


@virtual_time
async def test_any_frame_puts_the_judgement_off() -> None:
    proxy, links, node = await linked()
    for second in (7, 14, 21, 28, 35):
        await until(second)
        links.hear(1)
    await until(49.9)
    assert await node.heard.remote() == []
    await until(50.1)
    assert await node.heard.remote() == [("silence", (NodeState.DEGRADED,))]
    await stop(proxy)
    await stop(node)


@virtual_time
async def test_a_report_makes_a_degraded_node_well_at_once() -> None:
    proxy, links, node = await linked()
    await until(20)
    links.hear(1)
    proxy.heard.tell(ONE)
    await settled()
    assert [args[0] for _, args in await node.heard.remote()] == [NodeState.DEGRADED, NodeState.READY]
    await until(34.9)
    assert await node.heard.remote() == []
    await until(50.1)
    assert [args[0] for _, args in await node.heard.remote()] == [NodeState.DEGRADED]
    assert links.goodbyes == [(ONE, "silent")]
    await stop(proxy)
    await stop(node)


@virtual_time
async def test_a_link_that_the_listener_does_not_know_yet_is_not_judged() -> None:
    links, node = FakeLinks(), remote(Witness).remote()
    proxy = remote(NodeProxy).remote(links, node)
    for link in (1, 2):  # as when an agent joins, and joins again
        proxy.link_up.tell(LinkId(link))
        await settled()
    assert links.goodbyes == [(ONE, "replaced")]
    await stop(proxy)
    await stop(node)


@virtual_time
async def test_a_newer_link_replaces_the_older_whose_end_no_longer_matters() -> None:
    proxy, links, node = await linked()
    proxy.link_up.tell(TWO)
    links.hear(2)
    proxy.link_down.tell(ONE, "replaced")
    await settled()
    assert links.goodbyes == [(ONE, "replaced")]
    assert await node.heard.remote() == []
    assert isinstance(await proxy.open.remote(StreamId(1), request_head()), Opened)
    assert links.opened == [(TWO, 1)]
    await until(20)
    proxy.heard.tell(ONE)  # what the old one said is late
    await settled()
    assert [args[0] for _, args in await node.heard.remote()] == [NodeState.DEGRADED]
    await stop(proxy)
    await stop(node)


@virtual_time
async def test_a_stream_that_cannot_be_opened_is_an_answer_and_no_crash() -> None:
    proxy, links, node = await linked()
    for refusal in (LinkClosed("the link is gone"), StreamFailed("the node has 1024 requests open already")):
        links.refusal = refusal
        assert await proxy.open.remote(StreamId(1), request_head()) == Unavailable(str(refusal))
    proxy.link_down.tell(ONE, "gone")
    assert await proxy.open.remote(StreamId(1), request_head()) == Unavailable("the node is not connected")
    await stop(proxy)
    await stop(node)


@virtual_time
async def test_a_command_is_answered_by_its_result() -> None:
    proxy, links, node = await linked()
    first, second = proxy.command.remote("load", {"model": "a"}), proxy.command.remote("unload", {"model": "b"})
    await settled()
    links.commands[2].set_result(Result(2, True))
    assert await second == Result(2, True)
    links.commands[1].set_result(Result(1, False, text="no such model"))
    assert await first == Result(1, False, text="no such model")
    await stop(proxy)
    await stop(node)


@virtual_time
async def test_an_agent_that_never_answers_a_command_is_not_waited_for_longer_than_a_load_takes() -> None:
    proxy, links, node = await linked()
    asked = proxy.command.remote("load", {})
    await settled()
    links.heard_at[ONE] = 1e9  # it is there, and says nothing
    result: Result = await asked
    assert asyncio.get_running_loop().time() == COMMAND_S
    assert not result.ok
    assert "did not answer" in result.text
    assert links.commands == {}
    await stop(proxy)
    await stop(node)


@virtual_time
async def test_so_many_commands_are_under_way_and_no_more() -> None:
    proxy, links, node = await linked()
    asked = [proxy.command.remote("load", {}) for _ in range(MAX_COMMANDS)]
    refused: Result = await proxy.command.remote("load", {})
    assert not refused.ok
    for number in list(links.commands):
        links.commands[number].set_result(Result(number, True))
    assert all([(await one).ok for one in asked])
    again = proxy.command.remote("load", {})
    await settled()
    assert len(links.commands) == 1
    links.commands[MAX_COMMANDS + 2].set_exception(LinkClosed("the node's link is gone"))
    assert (await again).text == "the node's link is gone"
    await stop(proxy)
    await stop(node)


@virtual_time
async def test_without_a_link_a_command_is_refused() -> None:
    links, node = FakeLinks(), remote(Witness).remote()
    proxy = remote(NodeProxy).remote(links, node)
    assert (await proxy.command.remote("load", {})).text == "the node is not connected"
    await stop(proxy)
    await stop(node)
