"""Routers side by side, over the same fleets, owners and requests.

In reading order:

    policies                    the ways to route, all on one code path: `baselines` and an `oracle` beside the product
    loads                       what a fleet can bear, and scenarios that ask for a share of it
    figures                     what came of one run
    runs, processes             all runs, on all cores, that end with the command
    resampling, standings       intervals by bootstrap; how the policies stand to each other, and what is aimed for
    report, prose, plots        the page, what each one says about its method, and its pictures
    changes, what_if            what would change for whom with another machine: `herd simulate --what-if`
"""
