"""Drills: a plan's VMs on clones of a recovery point, in an isolated network; what they have shown; and when one is due."""
