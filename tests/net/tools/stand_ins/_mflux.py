"""What mflux's commands have in common, as far as Herd sees it: written after mflux 0.24.0, without its models.

They take what `capabilities.json` beside this says, which is what `mflux-capabilities --format json` of that version
prints, less words for people and most commands. What becomes of a run is said by variables:

    MFLUX_DOES   battery: stops without an image, content with itself; crash, memory: a traceback; segfault: dies;
                 deaf: heeds no SIGTERM and never ends; half: only the first image of several; nothing: no image
    MFLUX_TELLS  a FIFO that gets a line for each run at its second step: process ids, its own and its child's, and its
                 words, as a JSON list
    MFLUX_HOLDS  a FIFO: the run goes on after that when somebody has opened this for writing and closed it
"""

import argparse
import json
import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOES = os.environ.get("MFLUX_DOES", "")
assert not any(name.startswith("HERD_") for name in os.environ), "whoever sees this process sees the agent's keys"
STEPS = {"schnell": 4, "dev": 25, "z-image-turbo": 9, "z-image": 50, "flux2-klein-4b": 4, "dev-kontext": 25}
TYPES = {"int": int, "float": float, "path": Path, "int-or-scale": lambda word: word if word == "auto" else int(word)}


def main(script: str) -> None:
    command = Path(script).name
    capabilities = json.loads((HERE / "capabilities.json").read_text())
    described = next(each for each in capabilities["commands"] if each["command"] == command)
    parser = parser_of(command, described)
    args = vars(parser.parse_args())
    sidecar = json.loads(args["config_from_conf"].read_text()) if "config_from_conf" in args else {}
    refuse(parser, described, args)
    model = args["model"]
    find_weights(model)
    prompt = args["prompt"] if args["prompt"] is not None else sidecar.get("prompt")
    if prompt is None and args["prompt_file"] is None:
        parser.error(
            "Either --prompt or --prompt-file argument is required, or 'prompt' required in metadata config file"
        )
    if DOES == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # The real one asks `pmset` for the battery.
    child = subprocess.Popen([sys.executable, "-S", "-c", CHILD], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    try:
        generate(args, str(prompt), STEPS.get(args["base_model"] or model, 25), child.pid)
    except Stopped as stopped:
        sys.stdout.write(f"{stopped}\n")
    finally:
        child.kill()
        child.wait()


CHILD = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('there', flush=True); signal.pause()"


class Stopped(Exception):
    """Of which the real one makes an exit status of 0."""


def parser_of(command: str, described: dict[str, Any]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=command, allow_abbrev=False)
    for option in described["options"]:
        names = [option["flag"], *option.get("aliases", ())]
        if option["type"] == "bool":
            names = [name for name in names if not (name.startswith("--no-") and option["parser_default"] is True)]
            parser.add_argument(*names, action="store_true")
            continue
        settings: dict[str, Any] = {"type": TYPES.get(option["type"], str), "required": option.get("required", False)}
        if option["parser_default"] is not None:
            settings["default"] = option["parser_default"]
        if option["flag"] == "--config-from-conf":
            settings["default"] = argparse.SUPPRESS
        if "choices" in option:
            settings["choices"] = [settings["type"](choice) for choice in option["choices"]]
        if "nargs" in option:
            settings["nargs"] = option["nargs"]
        parser.add_argument(*names, **settings)
    return parser


def refuse(parser: argparse.ArgumentParser, described: dict[str, Any], args: dict[str, Any]) -> None:
    """What this model does not do with these options."""
    given = sys.argv[1:]
    for option in described["options"]:
        if option["status"] == "rejected" and option["flag"] in given:
            parser.error(f"{option['flag']} is not supported for FLUX.2. Focus on describing what you want.")
        if option["status"] == "ignored" and option["flag"] in given:
            sys.stderr.write(f"UserWarning: {option['flag']} is ignored\n")
    if "flux2" in described["command"] and args["guidance"] not in (None, 1.0) and "base" not in args["model"]:
        parser.error("--guidance is only supported for FLUX.2 base models. Use --guidance 1.0.")
    for name in ("image_path", "image_paths"):
        for path in filter(None, [args.get(name)] if name == "image_path" else args.get(name) or ()):
            if not path.read_bytes().startswith(b"\x89PNG"):
                raise ValueError(f"cannot identify image file '{path}'")


def find_weights(model: str) -> None:
    """The real one would fetch them from Hugging Face."""
    if Path(model).is_dir():
        return
    cache = Path(os.environ["HF_HUB_CACHE"])
    repository = f"models--{model.replace('/', '--')}" if "/" in model else ""
    known = json.loads((HERE / "repositories.json").read_text())
    if not (cache / (repository or known.get(model, "none"))).is_dir():
        assert os.environ["HF_HUB_OFFLINE"] == "1", "that would be thirty gigabytes"
        sys.stdout.write(f"Downloading model from HuggingFace: {model}...\n")
        fail("huggingface_hub.errors.OfflineModeIsEnabled", f"Cannot reach https://huggingface.co/api/models/{model}")


def fail(name: str, words: str) -> None:
    sys.stderr.write('Traceback (most recent call last):\n  File "cli.py", line 1, in <module>\n')
    sys.stderr.write(f"{name}: {words}\n")
    sys.exit(1)


def generate(args: dict[str, Any], prompt: str, steps: int, child: int) -> None:
    if DOES == "battery":
        raise Stopped("Battery below 5% threshold: 3%")
    seeds = args["seed"] or [1]
    steps = args["steps"] or steps
    output = Path(args["output"])
    for number, seed in enumerate(seeds):
        bar(0, steps)
        for step in range(1, steps + 1):
            if step == 2 and number == 0:
                meet(child)
            try:
                fate(prompt, step)
            except KeyboardInterrupt:
                raise Stopped(f"Stopping image generation at step {step}/{steps}") from None
            bar(step, steps)
        sys.stderr.write("\n")
        if DOES == "nothing" or (DOES == "half" and number):
            continue
        named = output if len(seeds) == 1 else output.with_stem(f"{output.stem}_seed_{seed}")
        sides = [1024 if args[side] == "auto" else args[side] for side in ("width", "height")]
        save(named, *sides)


def bar(step: int, steps: int) -> None:
    full = "█" * (10 * step // steps)
    sys.stderr.write(f"\r{100 * step // steps:3}%|{full:10}| {step}/{steps} [00:01<00:02,  1.30s/it]")
    sys.stderr.flush()


def meet(child: int) -> None:
    if tells := os.environ.get("MFLUX_TELLS"):
        with Path(tells).open("w") as fifo:
            fifo.write(json.dumps([os.getpid(), child, sys.argv]) + "\n")
    if holds := os.environ.get("MFLUX_HOLDS"):
        with Path(holds).open() as fifo:
            fifo.read()


def fate(prompt: str, step: int) -> None:
    if step < 2:
        return
    if DOES == "deaf":
        signal.pause()
    if DOES == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if DOES == "crash":
        fail("ValueError", f"no tokens for {prompt!r}")
    if DOES == "memory":
        fail("RuntimeError", "[METAL] Command buffer execution failed: Insufficient Memory")


def save(path: Path, width: int, height: int) -> None:
    """Nothing is ever overwritten."""
    number, free = 0, path
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem}_{number}")
    rows = (b"\0" + bytes((width + 7) // 8)) * height
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    with free.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, data in chunks:
            file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))
    sys.stderr.write(f"INFO: Image saved successfully at: {free}\n")
