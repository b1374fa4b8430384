"""The dashboard of a router's fleet, and `herd top`, which shows it."""
