"""Herd: one URL for every machine in the house that serves models.

The packages in reading order; imports point from the bottom of this list to its top, never back:

    types, errors, names   ids, units and enumerations; what can go wrong; how models are called
    config                 settings of both commands, and the one reader of the environment
    runtime/               actors: Pykka actors on one asyncio loop with a Ray-shaped API; knows no LLM
    policy/                pure decisions: which node, in which order, and why
    protocols/             bytes to values and back, without a socket: the link, OpenAI, Ollama, Anthropic, SSE, NDJSON,
                           who may do what; `translation/` puts one API in front of another
    store/                 what outlives the process
    actors/                state and mailboxes, one file per actor; `request.py` is the life of one request,
                           `router.py` and `agent.py` the life of each process
    web/                   the page at `/herd/`, as browsers get it
    net/                   sockets and sensors behind the ports in `actors/`: `ports.py`, `sensor_ports.py`,
                           `watch_ports.py`; `tools/` has programs for images and speech that the agent runs itself, as
                           model servers
    simulation/            machines that behave like real ones: for tests, `herd simulate` and `herd demo`
    cli/                   the commands `herd` and `herd-node`
"""

__version__ = "0.1.0"
