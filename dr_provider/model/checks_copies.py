"""Where the copies of a volume stand, and which copy feeds which."""

from __future__ import annotations

from collections.abc import Collection

from dr_provider.model.build import Draft
from dr_provider.model.problems import Path, Report, did_you_mean, listed
from dr_provider.model.topology import PlanSpec, VolumeSpec

__all__ = ["check_volume", "check_with_plan"]


def check_volume(draft: Draft, volume: VolumeSpec, report: Report) -> None:
    """The arrays that a volume names, one a site, and the ways between them."""
    path: Path = ("volumes", volume.name)
    if "arrays" not in draft.torn and volume.home not in draft.arrays:
        report.add((*path, "home"), _unknown(volume.home, draft.arrays))
    home = draft.arrays.get(volume.home)
    at_site = {home.site: home.name} if home is not None else {}
    seen: set[str] = set()
    for index, copy in enumerate(volume.copies):
        at: Path = (*path, "copies", index)
        array = draft.arrays.get(copy.array)
        if "arrays" not in draft.torn and copy.array not in draft.arrays:
            report.add(at, _unknown(copy.array, draft.arrays))
        elif copy.array == volume.home:
            report.add(at, f"{copy.array} is the volume's home; a copy stands on another array, at another site")
        elif copy.array in seen:
            report.add(at, f"{copy.array} is listed twice; leave one of them out")
        elif array is not None and array.site in at_site:
            what = "the volume's home" if at_site[array.site] == volume.home else "its copy"
            report.add(
                at,
                f"{copy.array} stands at {array.site}, as {what} {at_site[array.site]} does, and a second copy at one "
                "site is not built yet; name an array at another site",
            )
        elif array is not None:
            at_site[array.site] = copy.array
        seen.add(copy.array)
    _ways(volume, path, report)


def _ways(volume: VolumeSpec, path: Path, report: Report) -> None:
    """`via` names another copy, and every copy is fed from the home in the end."""
    named = {copy.array: copy.via for copy in volume.copies}
    for index, copy in enumerate(volume.copies):
        at: Path = (*path, "copies", index, "via")
        if copy.via is None:
            continue
        others = sorted(name for name in named if name != copy.array)
        if copy.via == volume.home:
            report.add(at, f"{copy.via} is the volume's home, which feeds a copy anyway; leave via out")
        elif copy.via == copy.array:
            report.add(at, f"{copy.array} cannot be fed from itself; {_right(others)}")
        elif copy.via not in named:
            report.add(at, f"{copy.via} holds no copy of this volume; {_right(others)}")
        else:
            way = [copy.array]
            while (before := named.get(way[-1])) is not None and before not in way:
                way.append(before)
            if before is not None:
                report.add(
                    at, f"{' via '.join([*way, before])}: they would feed each other; leave via out of one of them"
                )


def _right(others: Collection[str]) -> str:
    return (
        f"wanted the array of another copy: {listed(others, 'or')}"
        if others
        else "there is no other copy; leave via out"
    )


def check_with_plan(draft: Draft, volume: VolumeSpec, plan: PlanSpec, user: tuple[str, str], report: Report) -> None:
    """A volume lives at its plan's home, and has a copy at each of the plan's other sites and nowhere else. `user`: a VM and its disk on it."""
    if any(name not in draft.arrays or draft.arrays[name] is None for name in volume.arrays):
        return
    at_site = {array.site for name in volume.arrays if (array := draft.arrays[name]) is not None}
    home = draft.arrays[volume.home]
    vm, role = user
    if home is not None and home.site != plan.home:
        there = _at(draft, plan.home)
        right = (
            f"wanted an array at {plan.home}: {listed(there, 'or')}" if there else f"there is no array at {plan.home}"
        )
        report.add(
            ("volumes", volume.name, "home"),
            f"{home.name} stands at {home.site}, and plan {plan.name}, whose VM {vm} has disk {role} on it, is at home at "
            f"{plan.home}; {right}",
        )
        return
    for site in dict.fromkeys(plan.sites[1:]):
        if site in at_site or site not in draft.sites:
            continue
        there = _at(draft, site)
        right = f"add one: copies: [{there[0]}]" if there else f"there is no array at {site} yet"
        report.add(
            ("volumes", volume.name, "copies") if volume.copies else ("volumes", volume.name),
            f"it has no copy at {site}, a recovery site of plan {plan.name}, whose VM {vm} has disk {role} on it; {right}",
        )
    for index, copy in enumerate(volume.copies):
        array = draft.arrays[copy.array]
        if array is not None and array.site not in plan.sites and array.site in draft.sites:
            report.add(
                ("volumes", volume.name, "copies", index),
                f"{copy.array} stands at {array.site}, which is none of the sites of plan {plan.name} ({', '.join(plan.sites)}); "
                f"add {array.site} to its sites, or leave the copy out",
            )


def _at(draft: Draft, site: str) -> list[str]:
    return sorted(name for name, array in draft.arrays.items() if array is not None and array.site == site)


def _unknown(name: str, known: Collection[str]) -> str:
    return f"there is no array {name}{did_you_mean(name, known)}"
