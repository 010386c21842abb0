"""Embedded hosts: one SQLite file a host, guests that read and write real blocks, and a ledger by which loss can be measured."""

from dr_provider.hypervisors.embedded.host import EmbeddedHost

__all__ = ["EmbeddedHost"]
