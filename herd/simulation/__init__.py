"""Machines that behave like real ones: for tests, examples, `herd simulate` and `herd demo`.

The rooms in reading order; imports point from the bottom of this list to its top, never back:

    clock, watch           the loop's time as dates; waiting for a state instead of for time
    http                   requests and answers without sockets
    machine/               what a machine is: its figures, the models on it, who owns it, and how long work takes
    ollama/                a fake Ollama: `server.py` is the whole of it, `scheduler.py` and `engine.py` its heart,
                           `asks/` and `voices/` what it understands and how it answers
    workload/              what is asked, when and by whom: from a seed, or from a trace
    fleet/                 machines under a production router: `house.py` with production agents in memory,
                           `switchboard.py` without agents, for long runs
    runs/                  days and months in virtual time: scenarios, measures, the log of decisions
    comparison/            routing policies side by side over the same scenarios: `herd simulate --compare`
    chaos/                 houses in which everything goes wrong, and the invariants that hold all the same
"""
