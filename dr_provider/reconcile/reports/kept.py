"""Where reports are kept: files beside the journals, and records on the arrays, so that they outlive the machine that wrote them.

    STATE/TOPOLOGY/PLAN/reports/ID.json, ID.html    every one
    <T>/blob/report/<plan>/<slot>                   the last SLOTS of a plan, on each array that answers
    <T>/blob/reports/<plan>                         {"reports": [{"slot", ...summary}]}: of the last INDEXED, newest first

Records carry no guard: nobody decides by them, and the lease is free again by then. Two runs that end in the same moment may cost an array a
line of its index; the files have them both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from dr_provider.model import keys
from dr_provider.model.codec import canonical
from dr_provider.model.errors import ArrayFull, BadInput, DrError
from dr_provider.model.state import Observation
from dr_provider.model.topology import Topology
from dr_provider.protection.fleet import Fleet
from dr_provider.reconcile.abreast import abreast
from dr_provider.reconcile.journal import journal_folder
from dr_provider.reconcile.reports.document import summary

__all__ = ["Kept", "folder_of", "keep_on_arrays", "newest_file", "read_file", "write_files"]

SLOTS = 20
INDEXED = 200
LONGEST = 128 * 1024
"""Bytes of a report's record: what is longer loses its steps first."""

_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}")


def folder_of(topology: str, plan: str) -> Path:
    return journal_folder(topology, plan) / "reports"


# -- files --------------------------------------------------------------------------------------------


def write_files(document: Mapping[str, Any], page: Callable[[Mapping[str, Any]], str]) -> Path:
    """Write the JSON, then the page beside it; the page's path. Raises OSError; a JSON that is there is whole."""
    folder = folder_of(str(document["topology"]), str(document["plan"]))
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    _whole(folder / f"{document['report']}.json", text)
    path = folder / f"{document['report']}.html"
    _whole(path, page(document))
    return path


def _whole(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.part")
    # A lone half of a character, from a device's message, is no reason to have no report.
    draft.write_text(text, encoding="utf-8", errors="backslashreplace")
    draft.replace(path)


def newest_file(topology: str, plan: str) -> Path | None:
    """The newest report's JSON on this machine."""
    folder = folder_of(topology, plan)
    files = sorted(f for f in folder.glob("*.json") if _ID.fullmatch(f.stem)) if folder.is_dir() else []
    return files[-1] if files else None


def read_file(topology: str, plan: str, name: str) -> dict[str, Any] | None:
    """A report on this machine by its id; None: there is none that can be read."""
    return _parsed(_text(folder_of(topology, plan) / f"{name}.json")) if _ID.fullmatch(name) else None


def _local(topology: str, plan: str) -> dict[str, dict[str, Any]]:
    """The reports on this machine, by id. What cannot be read is passed over: it may be on an array."""
    found = {}
    folder = folder_of(topology, plan)
    for file in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        if _ID.fullmatch(file.stem) and (document := _parsed(_text(file))) is not None:
            found[file.stem] = document
    return found


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _parsed(text: str | None) -> dict[str, Any] | None:
    """A report; None: it is none (damaged, or of a version that is to come)."""
    value = _object(text)
    return value if value is not None and _schema().is_valid(value) else None


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        value = json.loads(text) if text is not None else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and value.get("version") == 1 else None


@cache
def _schema() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(Path(__file__).with_name("report.schema.json").read_text(encoding="utf-8")))


# -- records on the arrays ------------------------------------------------------------------------------


def keep_on_arrays(fleet: Fleet, topology: Topology, seen: Observation, document: Mapping[str, Any]) -> list[str]:
    """Put the report on every array of the plan that answers; a sentence for each on which it could not be put."""
    plan = str(document["plan"])
    text = _bounded(document)

    def put(name: str) -> str:
        try:
            array, index = fleet.array(name), keys.reports_key(topology.name, plan)
            lines = _index(array.read_record(index))
            slot = _free_slot(lines)
            array.put_record(keys.report_key(topology.name, plan, slot), text)
            line = {**summary(document), "slot": slot}
            rest = [
                {**old, "slot": None} if old.get("slot") == slot else old
                for old in lines
                if old.get("report") != document["report"]
            ]
            kept = sorted([line, *rest], key=lambda each: str(each.get("report")), reverse=True)[:INDEXED]
            array.put_record(index, canonical({"version": 1, "reports": kept}))
        except ArrayFull as error:
            return f"array {name} has no room for the report ({error})"
        except DrError as error:
            return f"array {name} did not take the report ({error})"
        return ""

    answering = [name for name in topology.plan_arrays(plan) if seen.array(name) is not None]
    return [said for said in abreast(answering, put) if said]


def _free_slot(lines: Iterable[Mapping[str, Any]]) -> int:
    """One that holds nothing, else the oldest's."""
    taken = {slot: str(line.get("report")) for line in lines if isinstance(slot := line.get("slot"), int)}
    return next(
        (slot for slot in range(SLOTS) if slot not in taken), min(taken, key=lambda slot: taken[slot], default=0)
    )


def _bounded(document: Mapping[str, Any]) -> str:
    """Its text, shortened where it is too long: of a plan of a thousand VMs the steps are in the journal too."""
    for without in ((), ("steps", "callouts"), ("steps", "callouts", "vms", "remarks", "notes")):
        less = {name: [] if name in without else value for name, value in document.items()}
        text = canonical({**less, "shortened": True} if without else less)
        if len(text.encode("utf-8", "surrogatepass")) <= LONGEST:
            break
    # What no array could write down is not what a report is worth.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _index(text: str | None) -> list[dict[str, Any]]:
    """The lines of an array's index; those that are none are passed over."""
    value = _object(text)
    lines = value.get("reports") if value is not None else None
    return [line for line in lines if _is_line(line)] if isinstance(lines, list) else []


def _is_line(line: object) -> bool:
    if not isinstance(line, dict):
        return False
    texts = all(isinstance(line.get(name), str) for name in ("report", "started", "kind", "result", "headline"))
    return texts and all(isinstance(line.get(name), dict) for name in ("loss", "time", "vms"))


# -- looking them up --------------------------------------------------------------------------------------


class Kept:
    """The reports of a plan that are known: {id: summary}, newest first, and where each can be read in full."""

    def __init__(self, fleet: Fleet, topology: Topology, seen: Observation, plan: str) -> None:
        self.fleet, self.topology, self.plan = fleet, topology, plan
        self.local = _local(topology.name, plan)
        self.silent: list[str] = []
        self._slots: dict[str, list[tuple[str, int]]] = {}
        found = {name: summary(document) for name, document in self.local.items()}
        for array in topology.plan_arrays(plan):
            if seen.array(array) is None:
                self.silent.append(array)
                continue
            for line in self._lines(array):
                name = str(line.get("report"))
                if not _ID.fullmatch(name):
                    continue
                found.setdefault(name, {key: value for key, value in line.items() if key != "slot"})
                if isinstance(slot := line.get("slot"), int):
                    self._slots.setdefault(name, []).append((array, slot))
        self.reports = {name: found[name] for name in sorted(found, reverse=True)}

    def _lines(self, array: str) -> list[dict[str, Any]]:
        try:
            return _index(self.fleet.array(array).read_record(keys.reports_key(self.topology.name, self.plan)))
        except DrError:
            self.silent.append(array)
            return []

    def where(self, name: str) -> list[str]:
        """Where it can be read in full: `here`, and arrays."""
        return [*(["here"] if name in self.local else []), *(array for array, _ in self._slots.get(name, ()))]

    def read(self, name: str) -> dict[str, Any]:
        """The document in full. Raises BadInput where no place that answers holds it any more."""
        if name in self.local:
            return self.local[name]
        for array, slot in self._slots.get(name, ()):
            try:
                text = self.fleet.array(array).read_record(keys.report_key(self.topology.name, self.plan, slot))
            except DrError:
                continue
            document = _parsed(text)
            # Another may have taken the slot since.
            if document is not None and document.get("report") == name:
                return document
        silent = f" ({', '.join(self.silent)} does not answer)" if self.silent else ""
        raise BadInput(
            f"report {name} of plan {self.plan} is known by its summary only: arrays keep the last {SLOTS} in full, and this machine does not "
            f"have it{silent}; look on the machine that made it; nothing was done"
        )
