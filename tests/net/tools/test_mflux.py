import asyncio
import json
import os
import sys
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from herd.errors import StreamFailed
from herd.net.clock import SystemClock
from herd.net.tools.mflux import MFLUX, Mflux
from herd.protocols.messages import RequestHead
from herd.protocols.mflux_output import dimensions
from herd.types import BackendId, RequestId, Seconds
from tests.net.loops import HANGS_S, on_every_loop, turns_until
from tests.net.tools.ends import Ends
from tests.net.tools.weights import put_weights

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waiting for another's child takes Linux")

STAND_INS = Path(__file__).parent / "stand_ins"
PROGRAM = str(STAND_INS / "mflux-capabilities")
PROBE_S = Seconds(HANGS_S)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


class Bench:
    """mflux with some models, in a directory of the test's."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.workshop = home / "workshop"
        self.environ = {
            "HF_HUB_CACHE": str(home / "hub"),
            # The interpreter of the test before a version manager's, which takes its time.
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        }
        for model in ("schnell", "z-image-turbo", "flux2-klein-4b", "dev-kontext"):
            put_weights(home / "hub", model)

    @asynccontextmanager
    async def mflux(self, **variables: str) -> AsyncIterator[Mflux]:
        async with Mflux(PROGRAM, self.workshop, {**self.environ, **variables}, SystemClock()) as mflux:
            yield mflux

    def fifo(self, name: str) -> str:
        os.mkfifo(self.home / name)
        return str(self.home / name)


@pytest.fixture(name="bench")
def new_bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


class Said:
    """An answer, read to its end."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body: Any = json.loads(body)
        assert int(headers["Content-Length"]) == len(body)

    @property
    def images(self) -> list[bytes]:
        return [b64decode(item["b64_json"]) for item in self.body["data"]]

    @property
    def sentence(self) -> str:
        text = self.body["error"]["message"]
        assert isinstance(text, str)
        return text


async def ask(mflux: Mflux, path: str = "/v1/images/generations", *, body: bytes = b"", **fields: Any) -> Said:
    """Ask with JSON, or with a form that `form` made."""
    wanted = body or json.dumps({"model": "schnell", "prompt": "a red fox", "size": "64x64"} | fields).encode()
    kind = "multipart/form-data; boundary=edge" if body else "application/json"
    head = RequestHead(RequestId("r1"), BackendId("mflux"), "POST", path, (("Content-Type", kind),), size=len(wanted))

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(wanted), 1000):
            yield wanted[at : at + 1000]

    answer = await mflux.exchange(MFLUX, head, pieces())
    read = bytearray()
    try:
        while data := await answer.read():
            read += data
    finally:
        answer.close()
    return Said(answer.status, dict(answer.headers), bytes(read))


def form(*files: tuple[str, bytes], **fields: str) -> bytes:
    parts = [f'name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
    parts += [b'name="%s"; filename="a.jpg"\r\n\r\n%s' % (name.encode(), data) for name, data in files]
    return b"".join(b"--edge\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--edge--\r\n"


async def line_of(fifo: str) -> list[Any]:
    """What the next run writes there: its process ids and its words."""
    came = asyncio.Event()
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, came.set)
    try:
        async with asyncio.timeout(HANGS_S):
            await came.wait()
        return list(json.loads(os.read(descriptor, 65536)))  # a line is written at once
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def status_of(mflux: Mflux, model: str) -> dict[str, Any]:
    _, listed = await mflux.fetch(f"{MFLUX}/v1/models", timeout=PROBE_S)
    return next(dict(each["status"]) for each in listed["data"] if each["id"] == model)


def is_clean(bench: Bench) -> bool:
    """Whether nothing of what clients sent, or of what came of it, is left."""
    return list(bench.workshop.iterdir()) == []


# --- what there is ----------------------------------------------------------------------------------------------------


@on_every_loop
async def test_models_whose_weights_are_on_the_disk_are_listed_with_their_size(bench: Bench) -> None:
    async with bench.mflux() as mflux:
        status, listed = await mflux.fetch(f"{MFLUX}/v1/models", timeout=PROBE_S)
        assert status == 200
        assert listed["owned_by"] == "mflux"
        assert [model["id"] for model in listed["data"]] == [
            "dev-kontext", "flux2-klein-4b", "schnell", "z-image-turbo",
        ]  # fmt: skip
        assert listed["data"][0] == {
            "id": "dev-kontext",
            "object": "model",
            "owned_by": "mflux",
            "capabilities": ["image"],
            "meta": {"size": 3000},
            "status": {"value": "unloaded"},
        }
        assert await mflux.fetch(f"{MFLUX}/api/version", timeout=PROBE_S) == (404, None)


async def test_models_that_no_installed_command_runs_are_not_listed(bench: Bench) -> None:
    put_weights(bench.home / "hub", "qwen-image")  # its command is not among those of the stand-in
    async with bench.mflux() as mflux:
        _, listed = await mflux.fetch(f"{MFLUX}/v1/models", timeout=PROBE_S)
        assert "qwen-image" not in [model["id"] for model in listed["data"]]


async def test_an_mflux_that_does_not_run_here_says_so_and_is_asked_again_later(bench: Bench) -> None:
    async with bench.mflux(MFLUX_DOES="import-error") as mflux:
        for _ in range(2):
            with pytest.raises(StreamFailed, match="mflux does not say what it can do"):
                await mflux.fetch(f"{MFLUX}/v1/models", timeout=PROBE_S)


async def test_an_mflux_that_is_gone_is_no_model_server(bench: Bench) -> None:
    async with Mflux(str(bench.home / "none"), bench.workshop, {}, SystemClock()) as mflux:
        with pytest.raises(StreamFailed, match=r"mflux is gone: .*none: No such file or directory"):
            await mflux.fetch(f"{MFLUX}/v1/models", timeout=PROBE_S)


# --- images -----------------------------------------------------------------------------------------------------------


@on_every_loop
async def test_an_image_is_made_and_the_answer_says_what_it_took(bench: Bench) -> None:
    async with bench.mflux() as mflux:
        said = await ask(mflux, size="128x64", steps=3)
    assert said.status == 200
    assert [dimensions(image) for image in said.images] == [(128, 64)]
    assert said.body["output_format"] == "png"
    took = said.body["herd"]
    assert list(said.body)[-1] == "herd"
    assert {name: took[name] for name in ("kilopixel_steps", "width", "height", "steps")} == {
        "kilopixel_steps": 25, "width": 128, "height": 64, "steps": 3,
    }  # fmt: skip
    assert took["load_s"] > 0
    assert took["work_s"] > 0
    assert is_clean(bench)


async def test_several_images_of_one_request_are_one_run(bench: Bench) -> None:
    tells = bench.fifo("tells")
    async with bench.mflux(MFLUX_TELLS=tells) as mflux:
        asking = asyncio.create_task(ask(mflux, n=3, seed=7))
        _, _, words = await line_of(tells)
        said = await asking
    assert words[words.index("--seed") :][:4] == ["--seed", "7", "8", "9"]
    assert len(said.images) == 3
    assert said.body["herd"]["kilopixel_steps"] == 50  # 64 x 64, four steps each
    assert is_clean(bench)


async def test_no_word_of_a_prompt_is_among_the_words_of_a_command_nor_on_the_disk_once_read(bench: Bench) -> None:
    tells, holds = bench.fifo("tells"), bench.fifo("holds")
    async with bench.mflux(MFLUX_TELLS=tells, MFLUX_HOLDS=holds) as mflux:
        asking = asyncio.create_task(ask(mflux, prompt="my secret wedding", negative_prompt="uncle Bob"))
        _, _, words = await line_of(tells)
        await turns_until(lambda: [list(each.iterdir()) for each in bench.workshop.iterdir()] == [[]])
        await asyncio.to_thread(Path(holds).write_text, "")
        said = await asking
    assert not {"secret", "wedding", "uncle", "Bob"} & set(" ".join(words).split())
    assert said.headers["X-Herd-Ignored"] == "negative_prompt"  # schnell has none


async def test_commands_are_not_handed_what_the_agent_keeps_to_itself(bench: Bench) -> None:
    async with bench.mflux(HERD_NODE_JOIN_TOKEN="secret") as mflux:
        assert (await ask(mflux)).status == 200


async def test_what_a_model_does_not_heed_is_named_and_not_told_to_it(bench: Bench) -> None:
    async with bench.mflux() as mflux:
        said = await ask(mflux, model="flux2-klein-4b", guidance=7.5, negative_prompt="rain", quality="hd", quantize=4)
    assert said.status == 200
    assert said.headers["X-Herd-Ignored"] == "quality, guidance, negative_prompt"


async def test_an_edit_takes_pictures_as_they_come(bench: Bench) -> None:
    body = form(("image[]", PNG), ("image[]", PNG * 50), model="flux2-klein-4b", prompt="make it blue", size="64x64")
    async with bench.mflux() as mflux:
        said = await ask(mflux, "/v1/images/edits", body=body)
        assert [dimensions(image) for image in said.images] == [(64, 64)]
        one = form(("image", PNG), ("image", PNG), model="dev-kontext", prompt="make it blue")
        assert (await ask(mflux, "/v1/images/edits", body=one)).sentence == "dev-kontext edits one image at a time"
    assert is_clean(bench)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (form(model="flux2-klein-4b", prompt="blue"), "an edit needs the image that is to be edited"),
        (form(("mask", PNG), model="flux2-klein-4b", prompt="blue"), "mflux edits whole images: a mask is of no use"),
        (form(("image", b"GIF89a"), model="flux2-klein-4b", prompt="x"), "mflux failed: ValueError: cannot identify"),
        (form(("image", PNG), model="schnell", prompt="blue"), "schnell cannot edit images; it makes new images only"),
        (form(*[("image", PNG)] * 17, model="flux2-klein-4b", prompt="blue"), "an edit takes 16 images at most"),
        (form(("image", PNG), model="flux2-klein-4b", prompt="blue")[:-20], "the form is not whole"),
    ],
)
async def test_an_edit_that_cannot_be_is_refused_with_a_sentence(bench: Bench, body: bytes, sentence: str) -> None:
    async with bench.mflux() as mflux:
        said = await ask(mflux, "/v1/images/edits", body=body)
        assert said.status in {400, 500}
        assert said.sentence.startswith(sentence)
    assert is_clean(bench)


async def test_what_is_no_request_for_images_is_refused(bench: Bench) -> None:
    async with bench.mflux() as mflux:
        assert (await ask(mflux, size="100x100")).status == 400
        assert (await ask(mflux, body=b"no JSON")).sentence == "the request must be a JSON object"
        assert (await ask(mflux, body=b" " * 2**21)).status == 413
        unknown = await ask(mflux, model="dall-e-3")
        assert (unknown.status, unknown.sentence) == (404, "model 'dall-e-3' not found")
        assert (await ask(mflux, "/v1/chat/completions")).status == 404
        assert (await ask(mflux, model="SCHNELL:latest")).status == 200
    assert is_clean(bench)


# --- failures ---------------------------------------------------------------------------------------------------------


async def test_without_room_on_the_disk_another_node_is_to_be_asked(bench: Bench) -> None:
    async with bench.mflux() as mflux:
        bench.workshop.rmdir()
        said = await ask(mflux)
    assert (said.status, said.sentence) == (503, "mflux has no room to work in: No such file or directory")


@pytest.mark.parametrize(
    ("does", "status", "sentence"),
    [
        ("battery", 503, "mflux stopped without an image: Battery below 5% threshold: 3%"),
        ("nothing", 503, "mflux stopped without an image: it gives no reason"),
        ("half", 503, "mflux stopped without an image: it gives no reason"),
        ("crash", 500, "mflux failed: ValueError"),  # what follows has the prompt in it
        ("memory", 503, "mflux ran out of memory with schnell"),
        ("segfault", 500, "mflux was ended by SIGSEGV: often that is want of memory"),
    ],
)
async def test_a_run_without_an_image_is_an_error_without_the_prompt(
    bench: Bench, does: str, status: int, sentence: str
) -> None:
    async with bench.mflux(MFLUX_DOES=does) as mflux:
        said = await ask(mflux, n=2)
    assert (said.status, said.sentence) == (status, sentence)
    assert is_clean(bench)


async def test_weights_that_turn_out_not_to_be_whole_are_never_fetched_for_a_request(bench: Bench) -> None:
    async with bench.mflux() as mflux:
        await mflux.fetch(f"{MFLUX}/v1/models", timeout=PROBE_S)
        (bench.home / "hub" / "models--black-forest-labs--FLUX.1-schnell").rename(bench.home / "elsewhere")
        said = await ask(mflux)
    assert said.status == 503
    assert said.sentence.startswith("the weights of schnell on this node are not whole: run mflux with it once")


# --- one at a time, and the end of it ---------------------------------------------------------------------------------


@on_every_loop
async def test_a_hang_up_in_mid_generation_ends_the_whole_process_group(bench: Bench) -> None:
    tells = bench.fifo("tells")
    async with bench.mflux(MFLUX_TELLS=tells, MFLUX_DOES="deaf") as mflux:
        asking = asyncio.create_task(ask(mflux, n=2))
        command, child, _ = await line_of(tells)
        ends = Ends([command, child, os.getpgid(command)])
        while (status := await status_of(mflux, "schnell"))["step"] < 1:  # noqa: ASYNC110 - no event of the test's
            await asyncio.sleep(0)
        assert status == {"value": "loaded", "step": 1, "steps": 8}  # of both images
        assert await status_of(mflux, "z-image-turbo") == {"value": "unloaded"}
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        assert ends.come()
    assert is_clean(bench)


async def test_a_command_that_says_nothing_any_more_is_ended_for_those_behind_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("herd.net.tools.mflux._SILENT_S", 0.01)  # it says nothing at all before that, either
    async with bench.mflux(MFLUX_DOES="deaf") as mflux:
        said = await ask(mflux)
    why = "mflux has said nothing for 0.01 s while it made this image, and was ended"
    assert (said.status, said.sentence) == (504, why)
    assert is_clean(bench)


async def test_requests_run_one_after_the_other_and_who_hangs_up_leaves_the_line(bench: Bench) -> None:
    tells, holds = bench.fifo("tells"), bench.fifo("holds")
    async with bench.mflux(MFLUX_TELLS=tells, MFLUX_HOLDS=holds) as mflux:
        first = asyncio.create_task(ask(mflux, seed=1))
        _, _, words = await line_of(tells)
        assert words[words.index("--seed") + 1] == "1"
        second = asyncio.create_task(ask(mflux, model="z-image-turbo", seed=2))
        third = asyncio.create_task(ask(mflux, seed=3))
        await turns_until(lambda: len(list(bench.workshop.iterdir())) == 3)
        second.cancel()
        await asyncio.wait([second])
        for number, asking in (("1", first), ("3", third)):
            if number == "3":
                _, _, words = await line_of(tells)
                assert words[words.index("--seed") + 1] == "3"
            await asyncio.to_thread(Path(holds).write_text, "")
            assert (await asking).status == 200
    assert is_clean(bench)


async def test_a_line_that_is_too_long_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("herd.net.tools.mflux._MAX_WAITING", 1)
    tells, holds = bench.fifo("tells"), bench.fifo("holds")
    async with bench.mflux(MFLUX_TELLS=tells, MFLUX_HOLDS=holds) as mflux:
        first = asyncio.create_task(ask(mflux))
        await line_of(tells)
        assert (await ask(mflux)).status == 503
        await asyncio.to_thread(Path(holds).write_text, "")
        assert (await first).status == 200


AGENT = """
import asyncio, os, sys
from pathlib import Path
from herd.net.clock import SystemClock
from herd.net.tools.mflux import Mflux
from tests.net.tools.test_mflux import ask

async def main():
    async with Mflux(sys.argv[1], Path(sys.argv[2]), os.environ, SystemClock()) as mflux:
        await ask(mflux)

asyncio.run(main())
"""


async def test_an_agent_that_is_killed_takes_the_run_with_it_and_what_the_client_sent(bench: Bench) -> None:
    tells = bench.fifo("tells")
    environ = {**os.environ, **bench.environ, "MFLUX_TELLS": tells, "MFLUX_DOES": "deaf"}
    words = (sys.executable, "-c", AGENT, PROGRAM, str(bench.workshop))
    agent = await asyncio.create_subprocess_exec(*words, env=environ, cwd=Path(__file__).parents[3])
    command, child, _ = await line_of(tells)
    ends = Ends([command, child, os.getpgid(command)])
    agent.kill()
    await agent.wait()
    assert ends.come()
    assert is_clean(bench)


async def test_what_an_agent_has_left_that_lost_its_power_is_removed_at_the_start(bench: Bench) -> None:
    (bench.workshop / "left").mkdir(parents=True)
    (bench.workshop / "left" / "0.png").write_bytes(PNG)
    async with bench.mflux():
        assert is_clean(bench)
