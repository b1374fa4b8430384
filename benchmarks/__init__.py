"""What the README's figures come from. `python benchmarks/overhead.py --help`.

In reading order: `traffic` (what is asked and answered), `backend` (the fake model server), `hop` (the yardstick),
`load` (the clients) with `client` (their connections), `programs` and `targets` (the processes), `measures` (what is
measured, and how much of it), `figures` (the tables), `profiled` and `profiling` (where the time goes).
"""
