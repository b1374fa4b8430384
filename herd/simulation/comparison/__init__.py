"""Routers side by side, over the same fleets, owners and requests.

In reading order:

    policies                    the ways to route, all on one code path
    baselines, oracle           those that are not the product's own: simple routers, and one that knows too much
    loads                       what a fleet can bear, and scenarios that ask for a share of it
    figures                     what came of one run
    runs, processes             all runs, on all cores, that end with the command
    resampling, standings       intervals by bootstrap; how the policies stand to each other, and what is aimed for
    changes, what_if            a house that is otherwise, and what that changes for whom
    report, prose, plots        the page, what each one says about its method, and its pictures
"""
