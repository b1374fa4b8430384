"""A client as a process of its own, which freezes at the first bytes of its answer.

    python -m tests.e2e.readers URL BODY HEADERS

POSTs a body, prints "begun" when the answer begins, and stops itself with SIGSTOP: a signal from somebody else might
come when the answer is over. After SIGCONT it reads on, and prints the length and the SHA-256 of the answer.
"""

import hashlib
import http.client
import json
import os
import signal
import sys
from urllib.parse import urlsplit

PIECE = 64 * 1024


def main(url: str, body: str, headers: str) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    connection.request("POST", parts.path, body.encode(), json.loads(headers))
    answer = connection.getresponse()
    size, digest = 0, hashlib.sha256()
    while data := answer.read1(PIECE):
        if not size:
            _say("begun")
            os.kill(os.getpid(), signal.SIGSTOP)
        size += len(data)
        digest.update(data)
    _say(f"read {size} {digest.hexdigest()}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
