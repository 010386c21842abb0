"""Observe, decide, run: epochs, lease, journal, moves, drills, and what the steady state needs."""
