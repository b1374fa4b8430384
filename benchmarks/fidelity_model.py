"""The fake against a real llama.cpp server: measured, fitted, and asked the same at the same times.

The real server is measured before the workload and again after it, so that a machine that slows down or speeds up on
the way does so in both. Of the workload the fake is told what was asked and when, and nothing of what came of it.

What differs by construction: the real one puts a prompt of up to 2048 tokens into one step where Ollama's runner, and
so the fake, takes 512 at a time.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.fidelity_fake import Asked, Told, arrivals, lengths, serve
from benchmarks.fidelity_fit import Calibration, Error, Fit, error, fit, simulated
from benchmarks.fidelity_server import ALONE_PROMPTS, BATCHES, SLOTS, calibrate, served
from benchmarks.talk import progress
from herd.net.embedded import EmbeddedModel
from herd.simulation.machine.pace import MachineProfile

AIM = 0.25  # of the median: other programs take their turns on the machine


@dataclass(frozen=True, slots=True)
class Length:
    """How much a run measures."""

    requests: int
    rounds: int  # of the same workload; from two on it is known how far the real server is from itself
    calibrations: int  # before the workload, and as many after it
    prompts: Sequence[int] = ALONE_PROMPTS
    batches: Sequence[int] = BATCHES


FULL = Length(requests=100, rounds=2, calibrations=2)
QUICK = Length(requests=30, rounds=1, calibrations=1, prompts=ALONE_PROMPTS[:-1])
SMOKE = Length(requests=4, rounds=2, calibrations=1, prompts=(16, 64), batches=(2,))


Pair = tuple[Error, Error]  # of the first token, and of the completion


@dataclass(frozen=True, slots=True)
class Measured:
    """What the real server did."""

    calibration: Calibration
    workload: Sequence[Asked]
    rounds: Sequence[Sequence[Told]]
    core: float  # share of a core that it had while it had something to do
    together: float  # requests under way at once while there were any, on average


@dataclass(frozen=True, slots=True)
class Found:
    """All of it. The errors are over the requests of all rounds."""

    model: str
    requests: int
    seconds: float  # of one round
    measured: Measured
    fit: Fit
    context_cost: float  # times as long as a byte of the weights takes a byte of keys and values
    profile: MachineProfile
    fake: Pair
    bytes_alone: Pair  # the fake whose keys and values cost no more than their bytes
    itself: Pair | None  # the real server's second round, told by its first; None: there was one round


def compare(model: EmbeddedModel, seed: int, length: Length) -> Found:
    """Measure, fit and compare. Raises EmbeddedError."""
    measured = asyncio.run(measure(model, seed, length))
    size = model.path.stat().st_size
    fitted = fit(measured.calibration)
    cost = fitted.context_cost(size)

    def fake(context_cost: float) -> Pair:
        told = serve(fitted.machine(size), simulated(model.name, size, context_cost), SLOTS, measured.workload)
        return errors(told, measured.rounds)

    return Found(
        model=model.name,
        requests=length.requests,
        seconds=measured.workload[-1].at,
        measured=measured,
        fit=fitted,
        context_cost=cost,
        profile=fitted.machine(size),
        fake=fake(cost),
        bytes_alone=fake(1.0),
        itself=errors(measured.rounds[0], measured.rounds[1:]) if length.rounds > 1 else None,
    )


async def measure(model: EmbeddedModel, seed: int, length: Length) -> Measured:
    """All that needs the real server. Raises EmbeddedError."""
    dice = random.Random(seed)
    sizes = lengths(dice, length.requests)
    found = Calibration()
    rounds: list[list[Told]] = []
    async with served(model, seed) as server:
        for _ in range(length.calibrations):
            await calibrate(server, found, length.prompts, length.batches)
        before = fit(found)
        workload = arrivals(dice, sizes, [before.alone_s(prompt, answer) for prompt, answer in sizes])
        cpu_s = server.cpu_s()
        for number in range(length.rounds):
            progress(f"round {number + 1} of {length.rounds}: {length.requests} requests in {workload[-1].at:.0f} s")
            rounds.append(await server.serve(workload))
        cpu_s = server.cpu_s() - cpu_s
        for _ in range(length.calibrations):
            await calibrate(server, found, length.prompts, length.batches)
    busy_s = sum(busy(workload, each) for each in rounds)
    asked_s = sum(told.completion for each in rounds for told in each)
    return Measured(found, workload, rounds, cpu_s / busy_s, asked_s / busy_s)


def errors(told: Sequence[Told], rounds: Sequence[Sequence[Told]]) -> Pair:
    """How far what was told is from what happened, in all rounds together."""
    pairs = [(one, true) for each in rounds for one, true in zip(told, each, strict=True)]
    return (
        error([(one.first, true.first) for one, true in pairs]),
        error([(one.completion, true.completion) for one, true in pairs]),
    )


def busy(workload: Sequence[Asked], answers: Sequence[Told]) -> float:
    """Seconds in which any request was under way; the workload is in order of its times."""
    seconds, until = 0.0, 0.0
    for asked, told in zip(workload, answers, strict=True):
        end = asked.at + told.completion
        seconds += max(0.0, end - max(until, asked.at))
        until = max(until, end)
    return seconds


# --- For a person -----------------------------------------------------------------------------------------------------


def report(found: Found) -> str:
    """The tables."""
    fitted, measured = found.fit, found.measured
    figures = (
        ("a token alone, without context", f"{fitted.step_s * 1e3:.1f} ms"),
        ("1,000 tokens of context, more a token", f"{fitted.context_s * 1e6:.1f} ms"),
        ("a byte of keys and values, over one of the weights", f"{found.context_cost:.1f}"),
        ("each further request in a step (`batch_cost`)", f"{fitted.batch_cost:.2f}"),
        ("a prompt", f"{1 / fitted.prompt_s:.0f} tokens/s"),
        ("prompt tokens in the time of a token (`prefill_batch`)", f"{found.profile.prefill_batch:.2f}"),
        ("start, with the file in the page cache", f"{fitted.load_s:.2f} s"),
    )
    calibrated = ["| calibrated | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in figures)]
    compared = ["| off by | median | p90 | leans |", "|---|---:|---:|---:|"]
    rows: list[tuple[str, Pair | None]] = [
        ("fake", found.fake),
        ("fake, keys and values at their bytes", found.bytes_alone),
        ("the real server's own second round", found.itself),
    ]
    for who, pair in rows:
        for what, one in zip(("first token", "completion"), pair or (), strict=False):
            compared.append(f"| {what}: {who} | {one.median:.1%} | {one.p90:.1%} | {one.lean:+.1%} |")
    served = (
        f"{found.requests} requests of {found.model} in {found.seconds:.0f} s to {SLOTS} slots, "
        f"{len(measured.rounds)} times; {measured.together:.1f} at once while there were any. "
        f"The server had {measured.core:.0%} of the core that it wants."
    )
    notes = (served, f"Aim: a median of at most {AIM:.0%}.")
    return "\n\n".join(["\n".join(calibrated), "\n".join(compared), "\n".join(notes)])
