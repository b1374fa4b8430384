"""Routers side by side, over the same fleets, owners and requests."""
