"""LUNs as iSCSI targets: one target per LUN, LUN number 1 of it, for one initiator. What the service says when asked is the truth.

Nothing here is kept over a restart of the service: what is exported is exported by a call, so that an array that comes back offers nothing
before someone who knows the epoch asks for it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from .core import Context, Fault

__all__ = ["Export", "Exports", "open"]

LUN = 1


class Export(NamedTuple):
    """A target as the service has it. `path`: what its LUN 1 is ("" where it has none yet); `sessions`: initiators logged in now."""

    iqn: str
    path: str
    initiators: tuple[str, ...]
    sessions: tuple[str, ...]


class Exports(Protocol):
    """A LUN service. Changes are made by who holds the array's lock; each raises Fault."""

    def show(self) -> dict[str, Export]:
        """All targets of the service, others' too, by IQN. NotReady: the service does not answer."""

    def export(self, iqn: str, path: str, initiator: str) -> None:
        """Offer a file to one initiator. Already so: nothing is done. Offered with another file or to another: it is made anew."""

    def unexport(self, iqn: str) -> None:
        """Take a target away with its sessions. When it returns nobody can write to its file."""


class Unknown:
    """Of an array that is known by its address only (`--from`): its records are there to be read, and nothing is said of its LUNs."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def show(self) -> dict[str, Export]:
        return {}

    def export(self, iqn: str, path: str, initiator: str) -> None:
        raise self._fault()

    def unexport(self, iqn: str) -> None:
        raise self._fault()

    def _fault(self) -> Fault:
        return Fault("BadInput", f"{self._ctx.where}: its LUN service is not known; nothing was done")


def open(ctx: Context) -> Exports:  # noqa: A001  # read as exports.open
    """The LUN service that the array is set up with; no command is run. Fault: it has none."""
    from . import lio, tgt

    settings = ctx.config.get("luns") or {}
    if not settings:
        return Unknown(ctx)
    service = settings.get("service")
    if service == "tgt":
        return tgt.Tgt(ctx, settings)
    if service == "lio":
        return lio.Lio(ctx, settings)
    raise Fault("BadInput", f"{ctx.where} has no LUN service ({service!r}); set its option luns.service to tgt or lio")
