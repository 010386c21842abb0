"""The address of a LUN as an array gives it: iscsi://[CHAPUSER@]HOST:PORT/IQN/LUN[?secret=REF]."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from dr_provider.model.errors import BadInput

__all__ = ["IscsiTarget", "parse_target"]

_IQN = re.compile(r"(iqn\.|eui\.|naa\.)[a-z0-9.:-]{1,219}")


@dataclass(frozen=True)
class IscsiTarget:
    """`user` and `secret` (a credential reference) where the target asks for CHAP."""

    host: str
    port: int
    iqn: str
    lun: int
    user: str | None = None
    secret: str | None = None

    @property
    def portal(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def device(self) -> str:
        """The device that open-iscsi and udev make of it on the host."""
        return f"/dev/disk/by-path/ip-{self.portal}-iscsi-{self.iqn}-lun-{self.lun}"


def parse_target(target: str, where: str) -> IscsiTarget:
    """Raises BadInput where it is no iSCSI address: the array is of a driver that real hosts cannot use."""
    wrong = BadInput(
        f"{where}: its address {target.partition('?')[0]!r} is not iscsi://HOST:PORT/IQN/LUN, so a libvirt host cannot use it; keep the volume on an array that offers iSCSI"
    )
    try:
        parts = urlsplit(target)
        port = parts.port or 3260
    except ValueError:
        raise wrong from None
    iqn, _, number = parts.path.removeprefix("/").rpartition("/")
    if parts.scheme != "iscsi" or not parts.hostname or not _IQN.fullmatch(iqn) or not number.isdecimal():
        raise wrong
    secret = parse_qs(parts.query).get("secret", [None])[0]
    user = unquote(parts.username) if parts.username else None
    if (user is None) != (secret is None):
        raise BadInput(f"{where}: its address names a CHAP user without a password's reference, or the other way round")
    return IscsiTarget(parts.hostname, port, iqn, int(number), user, secret)
