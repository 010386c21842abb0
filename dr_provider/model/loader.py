"""Read a topology document: form, then references and rules across it. Every fault is found at once, in the document's order."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from dr_provider.model import checks, checks_callouts, codec
from dr_provider.model.build import Draft, absolute, build
from dr_provider.model.document import read
from dr_provider.model.errors import BadInput, Problem, TopologyInvalid
from dr_provider.model.problems import Report, show
from dr_provider.model.schema import check_schema
from dr_provider.model.topology import Topology

__all__ = ["load", "parse"]

T = TypeVar("T")
_LARGEST = 16 << 20


def load(path: Path) -> Topology:
    """The topology of a file. Relative paths in it count from its folder; images must be there.

    Raises BadInput (no such file, not text, not YAML) and TopologyInvalid (with every fault).
    """
    try:
        if path.is_dir():
            raise BadInput(f"{path}: it is a folder; wanted a topology file in it; nothing was done.")
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no such file; wanted a topology; nothing was done.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{path}: it cannot be read ({reason}); nothing was done.") from error
    if len(raw) > _LARGEST:
        raise BadInput(f"{path}: it has more than 16MiB, so it is no topology; nothing was done.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BadInput(
            f"{path}, line {line}: it is not UTF-8 text; wanted a topology saved as UTF-8; nothing was done."
        ) from error
    return parse(text, source=str(path), base=path.parent, check_images=True)


def parse(text: str, *, source: str, base: Path, check_images: bool = False) -> Topology:
    """The topology of a text: YAML, or the canonical JSON that is stored on arrays (`Topology.text`).

    `source` names the text in errors; relative paths count from `base`. A stored text must be readable where its images are
    not, so they are looked at only if `check_images`, and so are the templates of callouts. Raises BadInput and TopologyInvalid.
    """
    topology, problems = _read(text, source, base, check_images, places=False)
    if problems:
        # Once more, for the lines, which the faster reader does not know.
        topology, problems = _read(text, source, base, check_images, places=True)
    if topology is None:
        raise TopologyInvalid(source, problems)
    return topology


def _read(
    text: str, source: str, base: Path, check_images: bool, *, places: bool
) -> tuple[Topology | None, tuple[Problem, ...]]:
    report = Report()
    try:
        document = read(text, source, report, places=places)
        data = document.data
        if not isinstance(data, dict):
            raise BadInput(
                f"{source}: found {show(data)}; wanted a topology: a mapping with version, name, sites and so on; "
                "nothing was done."
            )
        check_schema(data, report)
        if ("version",) in report.paths:
            # What else a document of another format holds is not ours to judge.
            return None, report.only(("version",)).sorted(document.places)
        whole = absolute(data, base.absolute())
        draft = build(whole, report.paths)
        checks.check(draft, report, check_images=check_images)
    except RecursionError as error:
        raise BadInput(f"{source}: it is nested too deeply to be a topology; nothing was done.") from error
    if report:
        return None, report.sorted(document.places)
    topology = _topology(draft, codec.canonical(whole))
    if check_images:
        # A stored topology must be readable where a newer dr would object to a template.
        checks_callouts.check_templates(topology, report)
    return (None, report.sorted(document.places)) if report else (topology, ())


def _topology(draft: Draft, text: str) -> Topology:
    return Topology(
        name=draft.name,
        sites=draft.sites,
        arrays=_whole(draft.arrays),
        hosts=_whole(draft.hosts),
        networks=_whole(draft.networks),
        volumes=_whole(draft.volumes),
        vms=_whole(draft.vms),
        plans=_whole(draft.plans),
        source_budget=draft.source_budget,
        text=text,
        witness=draft.witness,
        contacts=draft.contacts,
        kept=draft.kept,
        alerts=draft.alerts,
    )


def _whole(section: dict[str, T | None]) -> dict[str, T]:
    return {name: value for name, value in section.items() if value is not None}
