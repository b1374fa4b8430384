"""Runs in virtual time: scenarios, what clients saw, what the router decided, and the figures of it."""
