"""Set-up of a fresh checkout: `.venv` and the Pulumi engine, with nothing but the standard library.

`python3 -m tools.setup all` is what every make target calls first. Each step leaves a stamp with a hash of what it was
made from; a step whose stamp still holds is not done again, and one that was interrupted is.
"""
