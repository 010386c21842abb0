"""Benchmarks: `make bench`. Each is measured against a bound or a peer in the same run, since machines are noisy."""
