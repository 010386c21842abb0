"""Rules across the document: names that must exist, volumes and their copies, plans and their tiers.

Each check says what is wrong at which path and what would be right. Parts that are malformed (None in the draft) are passed
over: what is wrong with them has been said. Networks and places for VMs stand in modules of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path as FilePath

from dr_provider.model import (
    checks_callouts,
    checks_copies,
    checks_drivers,
    checks_network,
    checks_placement,
    checks_witness,
)
from dr_provider.model.build import Draft
from dr_provider.model.problems import Path, Report, did_you_mean, listed
from dr_provider.model.topology import ELSEWHERE, PlanSpec
from dr_provider.model.units import format_duration, format_size

__all__ = ["check"]


def check(draft: Draft, report: Report, *, check_images: bool) -> None:
    """Every check across the document; `check_images` looks at what is on this machine too: image files and credentials."""
    _sites(draft, report)
    checks_drivers.check(draft, report)
    if check_images:
        checks_drivers.check_credentials(draft, report)
    for volume in draft.volumes.values():
        if volume is not None:
            checks_copies.check_volume(draft, volume, report)
    _disks(draft, report, check_images=check_images)
    _at(draft, report)
    for plan in draft.plans.values():
        if plan is not None:
            _plan(draft, plan, report)
    _membership(draft, report)
    _plan_volumes(draft, report)
    checks_network.check(draft, report)
    checks_placement.check(draft, report)
    checks_callouts.check(draft, report)
    checks_witness.check(draft, report)


def _unknown(kind: str, name: str, known: Collection[str]) -> str:
    return f"there is no {kind} {name}{did_you_mean(name, known)}"


def _repeated(names: Iterable[str]) -> Iterable[tuple[int, str]]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield index, name
        seen.add(name)


# -- sites, arrays, hosts -----------------------------------------------------------------------


def _sites(draft: Draft, report: Report) -> None:
    if "sites" in draft.torn:
        return
    for key, section in (("arrays", draft.arrays), ("hosts", draft.hosts)):
        for name, thing in section.items():
            if thing is not None and thing.site not in draft.sites:
                report.add((key, name, "site"), _unknown("site", thing.site, draft.sites))
    for what, places in draft.kept.items():
        for place in places:
            if place not in (*draft.sites, ELSEWHERE):
                report.add(("state", what), _unknown("site", place, (*draft.sites, ELSEWHERE)))


# -- VMs -----------------------------------------------------------------------------------------


def _at(draft: Draft, report: Report) -> None:
    """What a VM has otherwise at a site is for a site at which it can be."""
    plans = {vm: plan for plan in draft.plans.values() if plan is not None for vm in plan.members}
    given = [(vm.name, site) for vm in draft.vms.values() if vm is not None for site in vm.at if site != "drill"]
    for vm, site in given if "sites" not in draft.torn else ():
        plan = plans.get(vm)
        if site not in draft.sites:
            report.add(("vms", vm, "at", site), _unknown("site", site, [*draft.sites, "drill"]))
        elif plan is not None and site not in plan.sites:
            report.add(
                ("vms", vm, "at", site),
                f"{site} is not a site of plan {plan.name} ({listed(plan.sites)}), so it is never there; leave it out",
            )


# -- disks ---------------------------------------------------------------------------------------


def _disks(draft: Draft, report: Report, *, check_images: bool) -> None:
    used: Counter[str] = Counter()
    for vm in draft.vms.values():
        for disk in vm.disks if vm is not None else ():
            assert vm is not None
            path: Path = ("vms", vm.name, "disks", disk.role)
            used[disk.volume] += disk.size
            if "volumes" not in draft.torn and disk.volume not in draft.volumes:
                report.add((*path, "volume"), _unknown("volume", disk.volume, draft.volumes))
            if check_images and disk.image is not None:
                _image((*path, "image"), FilePath(disk.image), disk.size, report)
    for name, total in used.items():
        volume = draft.volumes.get(name)
        if volume is not None and total > volume.size:
            report.add(
                ("volumes", name, "size"),
                f"its disks have {format_size(total)} together, and it has {format_size(volume.size)}; "
                f"wanted at least {format_size(total)}",
            )


def _image(path: Path, file: FilePath, size: int, report: Report) -> None:
    try:
        if not file.is_file():
            report.add(path, f"there is no file {file}")
            return
        length = file.stat().st_size
        with file.open("rb"):
            pass
    except (OSError, ValueError) as error:
        report.add(path, f"{file} cannot be read ({getattr(error, 'strerror', None) or error})")
        return
    if length > size:
        report.add(
            path, f"{file} has {length} bytes and its disk {format_size(size)} ({size} bytes); give the disk more room"
        )


# -- plans --------------------------------------------------------------------------------------


def _plan(draft: Draft, plan: PlanSpec, report: Report) -> None:
    path: Path = ("plans", plan.name)
    _plan_sites(draft, plan, report)
    _tiers(draft, plan, report)
    if plan.rpo is not None and plan.rpo < plan.replicate_every:
        every = format_duration(plan.replicate_every)
        report.add(
            (*path, "rpo"),
            f"{format_duration(plan.rpo)} is less than replicate.every, {every}, so it could never be kept; "
            f"wanted at least {every}, or a smaller replicate.every",
        )
    _drill(plan, report)


def _drill(plan: PlanSpec, report: Report) -> None:
    path: Path = ("plans", plan.name, "drill")
    if plan.drill is None:
        return
    if plan.drill.site is not None and plan.drill.site not in plan.sites:
        near = did_you_mean(plan.drill.site, plan.sites)
        report.add((*path, "site"), f"{plan.drill.site} is not a site of this plan{near}")
    if plan.drill.stay >= plan.drill.every:
        report.add(
            (*path, "for"),
            f"{format_duration(plan.drill.stay)} is not less than every, {format_duration(plan.drill.every)}, so one drill would "
            "still be up when the next is due; wanted less",
        )


def _plan_sites(draft: Draft, plan: PlanSpec, report: Report) -> None:
    path: Path = ("plans", plan.name, "sites")
    for index, site in enumerate(plan.sites):
        if "sites" not in draft.torn and site not in draft.sites:
            report.add((*path, index), _unknown("site", site, draft.sites))
    for index, site in _repeated(plan.sites):
        report.add((*path, index), f"{site} is listed twice; leave one of them out")
    if len(plan.sites) == 1:
        report.add(path, f"lists {plan.home} only; wanted home and a recovery site")


def _tiers(draft: Draft, plan: PlanSpec, report: Report) -> None:
    tier_of: dict[str, int] = {}
    for number, tier in enumerate(plan.tiers):
        for index, vm in enumerate(tier.members):
            at: Path = ("plans", plan.name, "tiers", number, "members", index)
            if "vms" not in draft.torn and vm not in draft.vms:
                report.add(at, _unknown("VM", vm, draft.vms))
            if vm in tier_of:
                where = "in this tier" if tier_of[vm] == number else f"in tiers[{tier_of[vm]}]"
                report.add(at, f"{vm} is already {where}; leave one of them out")
            tier_of.setdefault(vm, number)
    for number, tier in enumerate(plan.tiers):
        earlier = [vm for vm, its in tier_of.items() if its < number]
        for index, vm in enumerate(tier.after or ()):
            at = ("plans", plan.name, "tiers", number, "after", index)
            right = f"wanted VMs of earlier tiers: {listed(earlier)}" if earlier else "the first tier waits for no VM"
            if vm not in tier_of:
                if vm in draft.vms:
                    report.add(at, f"VM {vm} is not in this plan; {right}")
                elif "vms" not in draft.torn:
                    report.add(at, _unknown("VM", vm, earlier or list(tier_of)))
            elif tier_of[vm] == number:
                report.add(at, f"{vm} is in this same tier, whose members start together; {right}")
            elif tier_of[vm] > number:
                report.add(
                    at, f"{vm} is in a later tier, tiers[{tier_of[vm]}], so the two would wait for each other; {right}"
                )
        for index, vm in _repeated(tier.after or ()):
            report.add(
                ("plans", plan.name, "tiers", number, "after", index), f"{vm} is listed twice; leave one of them out"
            )


def _plans_of_vms(draft: Draft) -> dict[str, list[str]]:
    plans: dict[str, list[str]] = {}
    for plan in draft.plans.values():
        for vm in dict.fromkeys(plan.members) if plan is not None else ():
            assert plan is not None
            plans.setdefault(vm, []).append(plan.name)
    return plans


def _membership(draft: Draft, report: Report) -> None:
    """A VM is in exactly one plan."""
    plans = _plans_of_vms(draft)
    for plan in draft.plans.values():
        if plan is None:
            continue
        for number, tier in enumerate(plan.tiers):
            for index, vm in enumerate(tier.members):
                first = plans[vm][0]
                if first != plan.name:
                    report.add(
                        ("plans", plan.name, "tiers", number, "members", index),
                        f"{vm} is in plan {first} too; a VM belongs to exactly one plan",
                    )
    if _plans_unknown(draft):
        return
    for vm in draft.vms:
        if vm not in plans:
            report.add(
                ("vms", vm), "it is in no plan, so nothing would protect or restore it; add it to a tier of one plan"
            )


def _plans_unknown(draft: Draft) -> bool:
    """Whether a malformed plan may hold VMs that we do not see."""
    return "plans" in draft.torn or None in draft.plans.values()


def _plan_volumes(draft: Draft, report: Report) -> None:
    """A volume belongs to exactly one plan, lives at that plan's home and has a copy at each of its recovery sites."""
    plans = _plans_of_vms(draft)
    users: dict[str, dict[str, tuple[str, str]]] = {}
    for vm in draft.vms.values():
        for disk in vm.disks if vm is not None else ():
            assert vm is not None
            for name in plans.get(vm.name, ())[:1]:
                users.setdefault(disk.volume, {}).setdefault(name, (vm.name, disk.role))
    for volume in draft.volumes.values():
        if volume is None:
            continue
        by_plan = users.get(volume.name, {})
        if len(by_plan) > 1:
            report.add(("volumes", volume.name), _two_plans(by_plan))
        for name in by_plan:
            plan = draft.plans.get(name)
            if plan is not None and len(by_plan) == 1:
                checks_copies.check_with_plan(draft, volume, plan, by_plan[name], report)
    if _plans_unknown(draft) or "vms" in draft.torn or None in draft.vms.values():
        return
    on_some_disk = {disk.volume for vm in draft.vms.values() if vm is not None for disk in vm.disks}
    for name in draft.volumes:
        if name not in on_some_disk:
            report.add(
                ("volumes", name),
                "no VM has a disk on it, so it belongs to no plan; put a VM's disk on it or leave it out",
            )


def _two_plans(by_plan: Mapping[str, tuple[str, str]]) -> str:
    parts = [f"{plan} (disk {role} of VM {vm})" for plan, (vm, role) in by_plan.items()]
    return (
        f"it is used by plans {listed(parts)}; a volume belongs to exactly one plan: give each plan volumes of its own"
    )
