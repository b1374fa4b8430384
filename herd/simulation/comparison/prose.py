"""What every report of a comparison says about its method."""

from herd.simulation.comparison.figures import COUNTED_S
from herd.simulation.comparison.loads import NEAR
from herd.simulation.comparison.resampling import FEWEST, RESAMPLES

HEADLINE = f"""\
Policies are compared by people's mean time to the first token, in which a request that was not served **counts as
{COUNTED_S:g} s**: a mean over what was served alone flatters whoever refuses the rest. Ratios below 1 are wins. Behind
each ratio stands its 95 % interval over the seeds; it is **open** when that holds 1. Of a hundred comparisons of
policies that do not differ at all, five to eight would look decided: read single ones with that in mind."""

AIMS = """\
Met: the whole interval keeps the aim. Not met: an interval lies wholly beyond it. Open: neither can be said from these
seeds. Not run: a policy or a load that it needs was left out."""

METHOD = """\
A seed draws who has what on disk, when owners do what, who asks, and for which model. All policies of a seed, workload
and load get the same fleet, owners and requests to the letter (common random numbers), and all run on one code path:
the production router, with another ranking in it. So queues, retries, breakers and held requests are the same for all,
the simple ones included; where a model does not fit beside the others, the model server makes room. Machines, owners
and the generator are described in [simulation.md](simulation.md)."""

CAPACITY = f"""\
**Load** is the share of the fleet's capacity that the requests ask for. Capacity is the greatest rate at which the
machines could do the mean work of these very requests if nothing were wasted: each model's requests split over the
machines that have it as is best for the whole (a linear program), every model in memory at once, no prompt cached, no
two requests in one step, and of each machine what its owner leaves of it (`herd/simulation/comparison/loads.py`).
Loads of models keep every router below it; 110 % is meant as an overload. A seed's requests are chosen so that their
load is within {100 * NEAR:g} % of what was asked for, where that can be had; the real one stands above each table."""

FIGURES = f"""\
Times are those of requests that people wait for, if not said otherwise; jobs, which nobody waits for, have a column of
their own.

- *Counted*: what was not served counts as {COUNTED_S:g} s, and so does what came later. *Served*: the mean over
  what was served alone.
- Percentiles are over everything: "never (3 of 20)" means that in 3 of 20 seeds more than so many were not served.
- *Slowdown* is the time to the whole answer over that on the idle fleet's best machine.
- *Goodput*: of all requests, the share that people got within 10 s to the first token and {COUNTED_S:g} s to the end,
  and jobs within an hour. More is better.
- *Cold loads*: models that were loaded, ahead of requests too.
- *Fairness*: Jain's index over the clients' mean slowdowns. More is better; 1 is even.
- *In owners' way*: seconds in which a machine computed while its owner was in a meeting or used half of it or more,
  over the fleet.
- *Prediction error*: the median of how far the router's own prediction of the whole time was from what it took."""

INTERVALS = f"""\
**Intervals**: a ratio is that of the means over the seeds; its interval is from {RESAMPLES:,} resamples of whole seeds
(paired bootstrap, expanded percentiles: Hesterberg 2015), drawn the same every time. Fewer than {FEWEST} seeds have
none. The best baseline is that with the least mean at that workload and load, picked after the fact, which favours it.
A dash: there is no such figure, or nothing to divide by."""

TRACE = """\
**The trace** gives times and lengths. Each seed takes a window of it that begins elsewhere, as many requests as the
load asks for, with the clock stretched to the run's hours: bursts hold as many requests as in the trace, over more
seconds. Who asks (Zipf), for which model (Zipf over the fleet's), and which requests are turns of one conversation is
drawn from the seed ([simulation.md](simulation.md))."""
