"""Backup, replication, retention with holds, and the catalogue of recovery points."""
