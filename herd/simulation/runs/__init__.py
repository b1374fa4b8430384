"""Days and months in virtual time: scenarios, what came of them, and what was decided.

In reading order:

    households      fleets as people have them, and their requests
    run, asking     a scenario run to its end; a client's side of one request
    decisions       what the router decided, line by line, and its digest
    measures        figures from what the clients saw
    report          the figures of a run, for people and for JSON
"""
