"""Pure decisions: frozen values in, frozen values out. No I/O, clock, log, await or randomness."""
