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
        "simulate": "simulate.command:simulate_command",
        "status": "remote.overview:status_command",
        "nodes": "remote.nodes:nodes_command",
        "models": "remote.overview:models_command",
        "queues": "remote.overview:queues_command",
        "requests": "remote.stories:requests_command",
        "story": "remote.stories:story_command",
        "top": "fleet.top:top_command",
        "logs": "remote.logs:logs_command",
        "doctor": "doctor.examination:doctor_command",
        "drain": "remote.orders:drain_command",
        "resume": "remote.orders:resume_command",
        "pause": "remote.orders:pause_command",
        "pull": "remote.pulls:pull_command",
        "pin": "remote.pins:pin_command",
        "unpin": "remote.pins:unpin_command",
    },
)

HERD_NODE = Script(
    "herd-node",
    default="run",
    about="Connects the model server on this machine to the house's router.",
    example="herd-node --router-url http://192.168.1.10:11435",
    commands={
        "run": "node:run_command",
        "pause": "agent.own_node:pause_command",
        "resume": "agent.own_node:resume_command",
        "status": "agent.own_node:status_command",
    },
)


def prepared(script: Script) -> Callable[[], NoReturn]:
    """What runs this process's command line; whatever it takes is imported by then."""
    return partial(guarded, script.app(sys.argv[1:], os.environ))
