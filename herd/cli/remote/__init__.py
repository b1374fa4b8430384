"""The small commands: each asks a running router one thing, or tells it one."""
