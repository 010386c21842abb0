"""Forges, as far as the CI files of `dr init-ci` go."""
