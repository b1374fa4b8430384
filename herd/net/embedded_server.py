"""The child process that serves the embedded model: `python -m herd.net.embedded_server --model FILE ...`.

Once it listens it prints one line, `listening http://127.0.0.1:PORT`, and it ends when its standard input closes:
however the parent ends, the kernel closes that pipe, so the child never outlives it. What llama.cpp says goes to
standard error. Nothing else of Herd imports this module: it needs the optional package xllamacpp, and a model's crash
must stay in here.
"""

import argparse
import os
import sys

import xllamacpp

# A prompt cache of another 8 GiB is xllamacpp's default; answers of a small model are soon computed again.
_PROMPT_CACHE_MIB = 64


def main() -> None:
    """Serve until standard input ends."""
    options = _options()
    # llama.cpp may write to either stream; the parent reads exactly one line from this one.
    line = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = xllamacpp.Server(_parameters(options))
    line.write(f"listening {server.listening_address}\n")
    line.close()
    sys.stdin.buffer.read()
    os._exit(0)  # without waiting for answers under way: nobody is left to read them


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve one GGUF model on loopback until standard input closes.")
    parser.add_argument("--model", required=True, help="path of the GGUF file")
    parser.add_argument("--alias", required=True, help="the name it is listed under")
    parser.add_argument("--context", type=int, required=True, help="tokens of context, of all requests together")
    parser.add_argument("--parallel", type=int, required=True, help="requests that run at once")
    parser.add_argument("--port", type=int, required=True, help="port on loopback; 0 for a free one")
    parser.add_argument("--threads", type=int, required=True, help="threads that compute")
    return parser.parse_args()


def _parameters(options: argparse.Namespace) -> "xllamacpp.CommonParams":
    parameters = xllamacpp.CommonParams()
    parameters.model.path = options.model
    parameters.model_alias = {options.alias}
    parameters.n_ctx = options.context
    parameters.n_parallel = options.parallel
    parameters.cpuparams.n_threads = options.threads
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = options.port
    parameters.cache_ram_mib = _PROMPT_CACHE_MIB
    parameters.ui = False
    return parameters


if __name__ == "__main__":
    main()
