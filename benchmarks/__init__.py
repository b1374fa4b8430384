"""What the README's and the documents' figures come from.

`python benchmarks/overhead.py --help`: what the two hops cost. In reading order: `traffic` (what is asked, answered),
`backend` (the fake model server), `hop` (the yardstick), `load` (the clients) with `client` (their connections),
`programs` and `targets` (the processes), `measures` (what is measured, and how much of it), `figures` (the tables),
`profiled` and `profiling` (where the time goes).

`python benchmarks/hostile.py --help`: what hostile clients cost an honest one (`hostile_load`: what they do).

`python benchmarks/runtime.py --help`: what a message between actors costs. In reading order: `runtime_contenders` (a
bare queue and `herd.runtime`), `runtime_guests` (Pykka's threads, xoscar, Ray), `runtime_worker`, `runtime_processes`
(each in a process of its own), `runtime_figures` (the table).

`python benchmarks/placement.py --help`: what it costs to decide where a request goes.

`python benchmarks/batches.py --help`: what it is worth to split a batch of texts over two machines (`batches_server`: a
simulated Ollama at its true speed).

`python benchmarks/store.py --help`: what the router's database weighs after a month, and how soon a router has read it.

`python benchmarks/workload_fit.py --help`: how far the simulator's workload is from a trace.

`python benchmarks/fidelity.py --help`: how far the simulator's machines are from a real model server, and its virtual
time from the wall clock. `talk` serves them all.
"""
