"""Houses in which much goes wrong, and everything that must hold all the same."""
