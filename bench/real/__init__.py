"""Benchmarks of the real stack, in a lab of their own: `make bench-lab`. Each peer runs beside what it is compared with."""
