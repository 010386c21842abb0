"""What every call to a zfs array has in common on the operator's side: the session, the settings, guards as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dr_provider.arrays.base import NO_GUARD, Fabric
from dr_provider.arrays.zfs.session import Session
from dr_provider.arrays.zfs.ssh import Endpoint, SshOptions, parse_endpoint
from dr_provider.model import addresses, credentials
from dr_provider.model.errors import BadInput
from dr_provider.model.records import Guard, Owner
from dr_provider.model.topology import ArraySpec

__all__ = ["Calls", "owner_words"]

_NO_PLAN = "-"


class Calls:
    """An opened zfs array. Nothing is asked of it yet. Raises BadInput for options that cannot be."""

    def __init__(self, spec: ArraySpec, *, timeout: float, fabric: Fabric | None = None) -> None:
        self.spec = spec
        self.name = spec.name
        self.site = spec.site
        self.timeout = timeout
        self.fabric = fabric or Fabric()
        self._where = f"array {spec.name} at site {spec.site}" if spec.site else f"array {spec.name}"
        self._options: Mapping[str, Any] = spec.options
        endpoints: Any = spec.options["endpoints"]
        self._endpoints = [parse_endpoint(str(endpoint)) for endpoint in endpoints]
        self._session = self._open(self._endpoints)

    def _open(self, endpoints: Sequence[Endpoint]) -> Session:
        """A session with the array by these of its endpoints."""
        return Session(
            self._where,
            endpoints,
            _ssh_options(self._options),
            timeout=self.timeout,
            width=int(self._options.get("width", 16)),
            config=self._config(),
        )

    def _config(self) -> dict[str, object]:
        """What the program on the array is told. A secret goes there over the connection and stands in no file."""
        luns = dict(self._options.get("luns") or {})
        if luns:
            luns = {"service": "tgt", **luns, "portal": _portal(str(luns["portal"]))}
        chap = luns.get("chap")
        if chap:
            try:
                password = credentials.resolve(str(chap["password"]), f"{self._where}, luns.chap")
            except BadInput as error:
                # It is asked for where a LUN is offered; a machine without it can still look, and move what is elsewhere.
                luns["chap"] = {"user": str(chap["user"]), "password": None, "missing": str(error)}
            else:
                luns["chap"] = {"user": str(chap["user"]), "password": password}
        return {
            "name": self.name,
            "site": self.site,
            "pool": str(self._options["pool"]),
            "dataset": str(self._options.get("dataset", "dr")),
            "sudo": bool(self._options.get("sudo", False)),
            "recordSize": int(self._options.get("recordSize", 32 << 10)),
            "luns": luns,
        }

    def _ask(self, op: str, guard: Guard = NO_GUARD, /, *, timeout: float | None = None, **args: Any) -> Any:
        """One operation of the remote program. A guard is sent only where it asks for something."""
        if guard != NO_GUARD:
            args["guard"] = asdict(guard)
        return self._session.call(op, args, timeout=timeout)

    def _group(self, volume: str) -> str:
        """What is snapshot together stands together: the plan's name, as the array's folder."""
        return self.fabric.groups.get(volume, _NO_PLAN)

    def close(self) -> None:
        self._session.close()


def _portal(text: str) -> str:
    """With its port, which the topology may leave out."""
    host, port = addresses.portal(text)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def owner_words(owner: Owner) -> list[str]:
    return [owner.topology, owner.stack, owner.incarnation]


def _ssh_options(options: Mapping[str, Any]) -> SshOptions:
    files = {key: Path(str(value)) for key, value in dict(options.get("ssh") or {}).items()}
    return SshOptions(files.get("identity"), files.get("knownHosts"), files.get("config"))
