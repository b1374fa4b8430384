"""The scripts `herd` and `herd-node`, and where their commands are.

The module of a command is imported when that is asked for: all of them together take a second, which a view that is
started, a name that is completed and a small question should not.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from herd.cli.application import Script
from herd.cli.process import guarded

HERD = Script(
    "herd",
    default="serve",
    about="One URL for every machine in the house that serves models.",
    example="herd --port 11435",
    commands={
        "serve": "router:serve_command",
        "demo": "demo:demo",
        "simulate": "simulate:simulate_command",
        "status": "overview:status_command",
        "nodes": "nodes:nodes_command",
        "models": "overview:models_command",
        "queues": "overview:queues_command",
        "requests": "stories:requests_command",
        "story": "stories:story_command",
        "top": "top:top_command",
        "logs": "logs:logs_command",
        "doctor": "examination:doctor_command",
        "drain": "orders:drain_command",
        "resume": "orders:resume_command",
        "pause": "orders:pause_command",
        "pin": "pins:pin_command",
        "unpin": "pins:unpin_command",
    },
)

HERD_NODE = Script(
    "herd-node",
    default="run",
    about="Connects the model server on this machine to the house's router.",
    example="herd-node --router-url http://192.168.1.10:11435",
    commands={
        "run": "node:run_command",
        "pause": "own_node:pause_command",
        "resume": "own_node:resume_command",
        "status": "own_node:status_command",
    },
)


def prepared(script: Script) -> Callable[[], NoReturn]:
    """What runs this process's command line; whatever it takes is imported by then."""
    return partial(guarded, script.app(sys.argv[1:], os.environ))
