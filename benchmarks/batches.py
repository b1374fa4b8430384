"""What it is worth to split a batch of texts for vectors over two machines: the same batch in parts and in one piece.

    python benchmarks/batches.py [--smoke] [--json FILE]

A router, two agents and two simulated Ollamas run as processes. Both machines have the model in memory; one of them has
a copy by another name as well, which nobody can share, so that both ways are measured in turn through the same
processes. Every answer is checked for a vector of each text; one that lacks some ends the run with exit code 1.
"""

import argparse
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, Python looks only beside it

import http.client
import json

from benchmarks.programs import LOOK_EVERY_S, START_S, BenchmarkFailed, Programs, module, script
from benchmarks.talk import machine, progress, writable
from benchmarks.targets import LOOPBACK

MODEL, ALONE = "nomic-embed-text:latest", "nobody-elses:latest"
MACHINES = ("attic", "cellar")
TEXT = "words that somebody will look for again one day " * 20  # some 180 tokens
INPUTS = (16, 64, 256, 1024)
ROUNDS = 7
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Row:
    """Batches of so many texts: medians in seconds, and of the rounds' ratios."""

    inputs: int
    alone_s: float
    split_s: float
    ratio: float
    beyond_half_ms: float  # by which the parts take longer than half of the whole


def main(arguments: Sequence[str]) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(description="What it is worth to split a batch over two machines.")
    parser.add_argument("--json", metavar="FILE", type=writable, help="write the figures to a file, too")
    parser.add_argument("--smoke", action="store_true", help="show that everything works, and nothing else")
    options = parser.parse_args(arguments)
    sizes, rounds = ((16,), 1) if options.smoke else (INPUTS, ROUNDS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="herd-benchmark-") as home, Programs(Path(home)) as programs:
        try:
            port = start(programs)
            rows = [measure(port, inputs, rounds) for inputs in sizes]
        except BenchmarkFailed as failure:
            print(f"failed: {failure}\n{programs.tails()}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    print(table(rows))
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=2))
    return 0


def start(programs: Programs) -> int:
    """Start everything, with the models in memory; the router's port. Raises BenchmarkFailed."""
    words = ("--host", LOOPBACK, "--port", "0", "--link-port", "0", "--no-mdns", "--data-dir", "router")
    router = programs.start("herd", [*script("herd"), "serve", *words])
    port = int(router.says(r"is up: http://\S+:(\d+)"))
    for name in MACHINES:
        server = programs.start(name, [*module("batches_server"), name, MODEL])
        own = int(server.says(r"port (\d+)"))
        names = [MODEL]
        if name == MACHINES[0]:
            post(own, "/api/copy", {"source": MODEL, "destination": ALONE})
            names.append(ALONE)
        for model in names:
            post(own, "/api/embed", {"model": model, "input": "x", "keep_alive": -1})
        url = f"http://{LOOPBACK}:{port}"
        where = ("--router-url", url, "--backend-url", f"http://{LOOPBACK}:{own}")
        own_words = ("--no-mdns", "--name", name, "--data-dir", f"{name}-data")
        programs.start(f"{name}-agent", [*script("herd-node"), *where, *own_words])
    deadline = time.monotonic() + START_S
    while in_memory(port) != {MODEL: 2, ALONE: 1}:
        if time.monotonic() > deadline:
            raise BenchmarkFailed(f"the models are not where they should be: {in_memory(port)}")
        time.sleep(LOOK_EVERY_S)
    return port


def in_memory(port: int) -> dict[str, int]:
    """On how many nodes the router knows each model to be in memory."""
    found: dict[str, int] = {}
    for node in json.loads(ask(port, "GET", "/herd/v1/status", None)[1])["nodes"]:
        for model in node["models"]:
            found[model["name"]] = found.get(model["name"], 0) + bool(model["resident"])
    return found


def measure(port: int, inputs: int, rounds: int) -> Row:
    """Both ways in turn, so that whatever else the machine does falls on both. The first round is not counted."""
    alone: list[float] = []
    split: list[float] = []
    for number in range(rounds + 1):
        progress(f"{inputs} texts, round {number} of {rounds}")
        texts = [f"{number} {text} {TEXT}" for text in range(inputs)]
        whole, alone_s, nowhere = timed(port, ALONE, texts)
        parted, split_s, parts = timed(port, MODEL, texts)
        if nowhere or parts != "2":
            raise BenchmarkFailed(f"a batch of {inputs} texts ran in {parts or 1} parts, the other in {nowhere or 1}")
        if len(whole) != inputs or len(parted) != inputs:
            raise BenchmarkFailed(f"{len(whole)} and {len(parted)} vectors for {inputs} texts")
        if number:
            alone.append(alone_s)
            split.append(split_s)
    ratio = statistics.median(two / one for one, two in zip(alone, split, strict=True))
    beyond = statistics.median(two - one / 2 for one, two in zip(alone, split, strict=True))
    return Row(inputs, statistics.median(alone), statistics.median(split), ratio, beyond * 1000)


def timed(port: int, model: str, texts: Sequence[str]) -> tuple[list[list[float]], float, str]:
    """The vectors, the seconds, and how many parts they were made in; empty for one piece."""
    body = json.dumps({"model": model, "input": texts}).encode()
    began = time.perf_counter()
    parts, answer = ask(port, "POST", "/api/embed", body)
    seconds = time.perf_counter() - began
    return json.loads(answer)["embeddings"], seconds, parts


def post(port: int, path: str, body: object) -> None:
    ask(port, "POST", path, json.dumps(body).encode())


def ask(port: int, method: str, path: str, body: bytes | None) -> tuple[str, bytes]:
    """In how many parts it was served, and the answer. Raises BenchmarkFailed."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        data = answer.read()
    except OSError as error:
        raise BenchmarkFailed(f"{method} {path}: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise BenchmarkFailed(f"{method} {path} answered {answer.status}: {data[:200].decode(errors='replace')}")
    return answer.headers.get("X-Herd-Parts", ""), data


def table(rows: Sequence[Row]) -> str:
    """The figures, as Markdown."""
    lines = ["| texts | one machine | two, in parts | ratio | beyond a half |", "|---:|---:|---:|---:|---:|"]
    lines += [
        f"| {row.inputs:,} | {row.alone_s:.3f} s | {row.split_s:.3f} s | {row.ratio:.2f} "
        f"| {row.beyond_half_ms:.0f} ms |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
