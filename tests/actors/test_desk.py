"""What an agent tells a view: a line of JSON, and back."""

from dataclasses import fields, replace
from typing import Any

import pytest

from herd.actors.desk import (
    MAX_MODELS,
    AgentDocument,
    AgentStatus,
    ShownGpu,
    ShownMachine,
    ShownModel,
    ShownRequest,
    ShownServer,
    ShownWeek,
    ShownWork,
    document,
    read_document,
)
from herd.errors import ProtocolError
from herd.policy.values import Reason
from herd.types import BackendId, Bytes, MiB, ModelName, NodeName, RequestId, RouterId, Seconds

ABOUT = {"id": "n1", "wanted_name": "mac", "version": "0.1.0"}
LLAMA = ShownModel(ModelName("llama3.2:3b"), BackendId("ollama"), resident=True, size=Bytes(3))
ASKED = ShownRequest(RequestId("r1"), ModelName("llama3.2:3b"), BackendId("ollama"), "/api/chat", Seconds(7.5))
STATUS = AgentStatus(
    linked=True,
    router_id=RouterId("r1"),
    name=NodeName("mac-2"),
    models=(LLAMA,),
    pauses=(Reason("meeting", "is in a meeting", Seconds(1.0)),),
    servers=(ShownServer(BackendId("ollama"), "http://127.0.0.1:11434", "ollama", "0.33.0"),),
    work=ShownWork((ASKED,), 1, served=3, tokens_per_s=1.5),
    machine=ShownMachine(0.5, Bytes(64), Bytes(32), (ShownGpu("RTX", Bytes(24), Bytes(20)),)),
    week=ShownWeek((None, *(0.5,) * 167), (0.0, *(1.0,) * 167)),
    at=Seconds(9.0),
)


def test_a_view_reads_what_the_agent_says() -> None:
    line = document(STATUS, ABOUT)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    read = read_document(line)
    told: dict[str, Any] = {one.name: getattr(STATUS, one.name) for one in fields(STATUS)} | ABOUT
    assert read == AgentDocument(**told, all_models=1)


def test_of_very_many_models_a_document_lists_those_in_memory_and_some_others() -> None:
    models = tuple(replace(LLAMA, name=ModelName(f"m{number}"), resident=number == 999) for number in range(1000))
    read = read_document(document(AgentStatus(models=models), ABOUT))
    assert (len(read.models), read.models[0].name, read.all_models) == (MAX_MODELS, "m999", 1000)


def test_a_document_is_less_than_a_view_reads_whatever_an_agent_has() -> None:
    name = "\U0001f986" * 512
    model = ShownModel(ModelName(name), BackendId(name[:64]), True)
    running = (replace(ASKED, model=ModelName(name[:300]), path=name[:300]),) * 64
    status = replace(STATUS, models=(model,) * 1500, work=ShownWork(running))
    assert len(document(status, ABOUT)) < MiB


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b'{"linked": 7}', b'{"week": {"load": 3}}', b"\xff", pytest.param(b"[" * 100_000, id="deep")],
)
def test_what_no_agent_says_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="is not what an agent tells"):
        read_document(line)
