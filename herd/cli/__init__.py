"""The commands `herd` and `herd-node`: options, terminals, exit codes. In reading order:

entry, scripts, application   from a command line to a command, of which nothing is imported but what it needs
process, options, words       what commands have in common: logs, signals and exit codes; settings; ways to say it
router, node, demo            the processes; with `access`, `tracing`, `logbook` and `dashboards` around them
live/                         a picture on a terminal that is alive
remote/                       the small commands: each asks a running router one thing, or tells it one
fleet/                        `herd top`, which is the dashboard of `herd` too
agent/                        the dashboard of `herd-node`, and its small commands
doctor/                       `herd doctor`
simulate/                     `herd simulate`
"""
