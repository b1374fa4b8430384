"""Machines under a production router: whole ones with agents in memory, and light ones for long runs."""
