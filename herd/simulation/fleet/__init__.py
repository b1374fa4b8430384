"""Machines under a production router: whole ones with agents in memory, and light ones for long runs.

In reading order:

    line, agent_end, router_end, links      the link without sockets: one direction, its two ends, all links of a router
    occupancy                               an owner's week happens to a model server
    house                                   a router, agents and model servers, each of which can stop and start
    switchboard                             the router's ports without agents behind them
    station                                 a node at a switchboard
"""
