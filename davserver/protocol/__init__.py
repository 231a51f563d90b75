"""The protocol core: pure values and rules. No I/O, no clock, no framework."""
