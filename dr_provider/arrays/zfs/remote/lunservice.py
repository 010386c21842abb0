"""Who may reach which LUN, read back from the service that offers them."""

from __future__ import annotations

from collections.abc import Iterable

from .core import Context, Fault
from .datasets import Volume
from .exports import open as open_exports
from .names import iqn

__all__ = ["mapped", "offer", "offered", "withdraw"]


def name_of(ctx: Context, volume: Volume, lun: str) -> str:
    return iqn(str(ctx.config["name"]), volume.name, lun)


def offered(ctx: Context) -> dict[str, str]:
    """iSCSI name -> the initiator that may use it, of all that is offered now."""
    # One without an initiator is half made: nobody can log in to it yet.
    return {name: ",".join(e.initiators) for name, e in open_exports(ctx).show().items() if e.initiators}


def mapped(ctx: Context, volume: Volume, seen: dict[str, str] | None = None) -> dict[str, str]:
    """LUN -> the initiator that can use it now; LUNs that nobody can use are left out."""
    seen = offered(ctx) if seen is None else seen
    names = {lun: name_of(ctx, volume, lun) for lun in sorted(volume.luns)}
    return {lun: seen[name] for lun, name in names.items() if name in seen}


def offer(ctx: Context, volume: Volume, lun: str, initiator: str) -> None:
    chap = (ctx.config.get("luns") or {}).get("chap")
    if chap and chap.get("missing"):
        raise Fault("BadInput", chap["missing"])
    open_exports(ctx).export(name_of(ctx, volume, lun), str(volume.file(lun)), initiator)


def withdraw(ctx: Context, volume: Volume, luns: Iterable[str]) -> None:
    """When this returns nobody can write to these LUNs. Raises Fault where the service still shows one."""
    exports = open_exports(ctx)
    seen = exports.show()
    doomed = {name: lun for lun in luns if (name := name_of(ctx, volume, lun)) in seen}
    for name in doomed:
        exports.unexport(name)
    left = [lun for name, lun in doomed.items() if name in exports.show()] if doomed else []
    if left:
        raise Fault(
            "DeviceFault",
            f"{ctx.where}: LUN {left[0]} of volume {volume.name} is still offered after it was withdrawn; see the LUN service there",
        )
