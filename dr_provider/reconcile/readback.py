"""What recovery points that were read back say: which part is wrong, and at which site. Pure.

A site is wrong where its LUN cannot be read, or differs from what the same point was when it was read before, or from what most of the other
sites hold. Where two differ and nothing says which one is right, both are called wrong: a point that may be rotten is not one to restore from
unless somebody names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dr_provider.model.codec import load
from dr_provider.model.errors import CorruptRecord
from dr_provider.model.vm import VmDefinition
from dr_provider.protection.catalogue import RecoveryPoint

__all__ = ["Finding", "Reading", "digests_of", "judge"]

Luns = Mapping[str, str]


@dataclass(frozen=True)
class Reading:
    """One volume of a point at one site. `luns`: LUN -> SHA-256; None: it was not read through, and `error` says why.

    `unknown`: the error speaks of silence, or of a point that was pruned meanwhile, and not of the data.
    """

    site: str
    array: str
    volume: str
    luns: Luns | None = None
    error: str = ""
    unknown: bool = False
    bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Finding:
    """Something wrong with a point at a site. `volume`: the one that must not be restored from there; "": not a matter of the data."""

    site: str
    volume: str
    sentence: str


@dataclass
class _Lun:
    """One LUN of a point: site -> digest, and what it was before."""

    volume: str
    name: str
    before: str | None
    at: dict[str, str] = field(default_factory=dict)

    @property
    def right(self) -> str | None:
        """The digest that counts; None: the sites differ, and nothing says which one is right."""
        if self.before is not None:
            return self.before
        (first, most), *others = Counter(self.at.values()).most_common()
        return first if not others or most > others[0][1] else None


def judge(point: RecoveryPoint, readings: Iterable[Reading], before: Luns) -> tuple[Finding, ...]:
    """What is wrong, by site. `before`: "volume/lun" -> digest on record."""
    readings = tuple(readings)
    found = [_unreadable(point, reading) for reading in readings if reading.luns is None and not reading.unknown]
    for lun in _luns(readings, before):
        found += _differing(point, lun)
    found += _definitions(point, readings)
    return tuple(sorted(dict.fromkeys(found), key=lambda f: (f.site, f.volume, f.sentence)))


def digests_of(readings: Iterable[Reading], before: Luns) -> dict[str, str]:
    """What is to be remembered of a point: "volume/lun" -> the digest that counts, where there is one."""
    return {
        **before,
        **{f"{lun.volume}/{lun.name}": lun.right for lun in _luns(readings, before) if lun.right is not None},
    }


def _luns(readings: Iterable[Reading], before: Luns) -> list[_Lun]:
    found: dict[str, _Lun] = {}
    for reading in readings:
        for name, digest in (reading.luns or {}).items():
            key = f"{reading.volume}/{name}"
            found.setdefault(key, _Lun(reading.volume, name, before.get(key))).at[reading.site] = digest
    return [found[key] for key in sorted(found)]


def _unreadable(point: RecoveryPoint, reading: Reading) -> Finding:
    return Finding(
        reading.site,
        reading.volume,
        f"{point.id} at {reading.site}: volume {reading.volume} on {reading.array} cannot be read through: {reading.error}; "
        f"{_advice(point, reading.site)}",
    )


def _differing(point: RecoveryPoint, lun: _Lun) -> list[Finding]:
    what = f"LUN {lun.name} of volume {lun.volume}"
    if lun.right is None:
        sites = " and ".join(sorted(lun.at))
        return [
            Finding(
                site,
                lun.volume,
                f"{point.id}: {what} differs between {sites}, and nothing on record says which one is right (at {site} its SHA-256 is {digest[:16]}...); "
                f"take a new point (dr protect --now), and look at both with a drill before you restore from this one",
            )
            for site, digest in sorted(lun.at.items())
        ]
    than = (
        "than when it was read before"
        if lun.before is not None
        else "than at " + " and ".join(sorted(site for site, digest in lun.at.items() if digest == lun.right))
    )
    return [
        Finding(
            site,
            lun.volume,
            f"{point.id} at {site}: {what} is another one {than} (SHA-256 {digest[:16]}..., wanted {lun.right[:16]}...); {_advice(point, site)}",
        )
        for site, digest in sorted(lun.at.items())
        if digest != lun.right
    ]


def _advice(point: RecoveryPoint, site: str) -> str:
    others = sorted(other for other in point.sites if other != site and point.complete_at(other))
    if others:
        return f"restore from {' or '.join(others)}, which has this point too; what has rotted here may be in newer points as well: a full copy brings it back in line"
    return "no other site that answers has this point whole: take a new one (dr protect --now), and choose an older one for a move"


def _definitions(point: RecoveryPoint, readings: Iterable[Reading]) -> list[Finding]:
    """Each VM's definition can be read, and its disks are LUNs of the point, wherever all of the point was read."""
    found: list[Finding] = []
    luns: dict[str, dict[str, Luns]] = {}
    for reading in readings:
        if reading.luns is not None:
            luns.setdefault(reading.site, {})[reading.volume] = reading.luns
    for vm, text in sorted(point.intent.definitions.items()):
        try:
            definition = load(VmDefinition, text, f"{point.id}, the definition of VM {vm}")
        except CorruptRecord as error:
            found += [Finding(site, "", f"{error}; take a new point (dr protect --now)") for site in sorted(luns)]
            continue
        for disk in definition.disks:
            for site, volumes in sorted(luns.items()):
                if disk.volume in volumes and disk.lun not in volumes[disk.volume]:
                    said = f"{point.id} at {site}: disk {disk.role} of VM {vm} is LUN {disk.lun} of volume {disk.volume}, which the point has not; take a new point (dr protect --now)"
                    found.append(Finding(site, disk.volume, said))
    return found
