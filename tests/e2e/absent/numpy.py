"""Stands first on the path of programs that tests start, as if Herd alone were installed: `processes.environment`."""

raise ModuleNotFoundError("No module named 'numpy'", name="numpy")
