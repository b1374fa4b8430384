"""Machines that behave like real ones: for tests, examples and `herd demo`."""
