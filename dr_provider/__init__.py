"""Disaster recovery for virtual machines, declared as code."""

__version__ = "0.1.0"
