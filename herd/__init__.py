"""Herd: one URL for every machine in the house that serves models."""

__version__ = "0.1.0"
