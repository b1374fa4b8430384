"""Houses in which much goes wrong, and everything that must hold all the same.

In reading order:

    run                         one seed from its house to its verdict: `chaos`
    trouble, between, shelf     what befalls nodes; what stands between an agent and its router, before a server's disk
    crowd                       those who ask
    overhearing, truth          what is overheard; how the machines really are
    invariants, verdicts        what must hold; whether an answer is what a server said
"""
