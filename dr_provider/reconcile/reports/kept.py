"""Where reports are kept: files beside the journals, and records on the arrays, so that they outlive the machine that wrote them.

    STATE/TOPOLOGY/PLAN/reports/ID.json, ID.html    every one of moves and restores; of drills and rehearsals as long as fewer than RECENT are newer
    <T>/blob/report/<plan>/<id>                     the last IN_FULL of a plan, on each array that answers
    <T>/blob/reports/<plan>/<id>                    a line of each of the last LISTED: {"whole", ...summary}; `whole`: it is there in full, too

The lease is free again by the time that they are written, so no guard could keep two runs apart. None is needed: each report is records of
its own, and nobody rewrites what another run has written but to take away the oldest, which can be done twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

from dr_provider.arrays.base import Array
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

IN_FULL = 20
LISTED = 200
RECENT = 200
LONGEST = 128 * 1024
"""Bytes of a report's record: what is longer loses its steps first."""

_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}")
_MANY = ("drill", "rehearsal")
"""The kinds that are made on a schedule, or in CI. Of the others there are few, and they are asked about years later."""


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
    for old in _files(folder)[:-RECENT]:
        if (_object(_text(old)) or {}).get("kind") in _MANY:
            old.with_suffix(".html").unlink(missing_ok=True)
            old.unlink(missing_ok=True)
    return path


def _files(folder: Path) -> list[Path]:
    """The JSON of the reports in the folder, oldest first."""
    return sorted(f for f in folder.glob("*.json") if _ID.fullmatch(f.stem)) if folder.is_dir() else []


def _whole(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.part")
    # A lone half of a character, from a device's message, is no reason to have no report.
    draft.write_text(text, encoding="utf-8", errors="backslashreplace")
    draft.replace(path)


def newest_file(topology: str, plan: str) -> Path | None:
    """The newest report's JSON on this machine."""
    files = _files(folder_of(topology, plan))
    return files[-1] if files else None


def read_file(topology: str, plan: str, name: str) -> dict[str, Any] | None:
    """A report on this machine by its id; None: there is none that can be read."""
    return _parsed(_text(folder_of(topology, plan) / f"{name}.json")) if _ID.fullmatch(name) else None


def _local(topology: str, plan: str) -> dict[str, dict[str, Any]]:
    """The reports on this machine, by id. What cannot be read is passed over: it may be on an array."""
    files = _files(folder_of(topology, plan))
    return {file.stem: document for file in files if (document := _parsed(_text(file))) is not None}


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
    plan, report = str(document["plan"]), str(document["report"])
    text, line = _bounded(document), _line(summary(document), whole=True)

    def put(name: str) -> str:
        try:
            array = fleet.array(name)
            _make_room(array, topology.name, plan, report)
            array.put_record(keys.report_key(topology.name, plan, report), text)
            array.put_record(keys.report_line_key(topology.name, plan, report), line)
        except ArrayFull as error:
            return f"array {name} has no room for the report ({error})"
        except DrError as error:
            return f"array {name} did not take the report ({error})"
        return ""

    answering = [name for name in topology.plan_arrays(plan) if seen.array(name) is not None]
    return [said for said in abreast(answering, put) if said]


def _make_room(array: Array, topology: str, plan: str, report: str) -> None:
    """Take away what is too old once the report is there, which another run's newer one may have come before."""
    lines = _lines(array, topology, plan)
    names = sorted({*lines, report}, reverse=True)
    for name in names[IN_FULL:]:
        if name in lines and lines[name]["whole"]:
            array.delete_record(keys.report_key(topology, plan, name))
            array.put_record(keys.report_line_key(topology, plan, name), _line(lines[name], whole=False))
    for name in names[LISTED:]:
        array.delete_record(keys.report_line_key(topology, plan, name))


def _line(of: Mapping[str, Any], *, whole: bool) -> str:
    return canonical({**of, "version": 1, "whole": whole})


def _bounded(document: Mapping[str, Any]) -> str:
    """Its text, shortened where it is too long: of a plan of a thousand VMs the steps are in the journal too."""
    for without in ((), ("steps", "callouts"), ("steps", "callouts", "vms", "remarks", "notes")):
        less = {name: [] if name in without else value for name, value in document.items()}
        text = canonical({**less, "shortened": True} if without else less)
        if len(text.encode("utf-8", "surrogatepass")) <= LONGEST:
            break
    # What no array could write down is not what a report is worth.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _lines(array: Array, topology: str, plan: str) -> dict[str, dict[str, Any]]:
    """The reports that an array knows of, by id, newest first; records that are no line of one are passed over."""
    prefix = keys.report_line_prefix(topology, plan)
    found = {key.removeprefix(prefix): _object(text) for key, text in array.state(records=prefix).records.items()}
    return {name: line for name in sorted(found, reverse=True) if _ID.fullmatch(name) and _is_line(line := found[name])}


def _is_line(line: object) -> TypeGuard[dict[str, Any]]:
    if not isinstance(line, dict) or not isinstance(line.get("whole"), bool):
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
        self._whole: dict[str, list[str]] = {}
        found = {name: summary(document) for name, document in self.local.items()}
        for array in topology.plan_arrays(plan):
            if seen.array(array) is None:
                self.silent.append(array)
                continue
            for name, line in self._known(array).items():
                found.setdefault(name, {key: value for key, value in line.items() if key not in ("version", "whole")})
                if line["whole"]:
                    self._whole.setdefault(name, []).append(array)
        self.reports = {name: found[name] for name in sorted(found, reverse=True)}

    def _known(self, array: str) -> dict[str, dict[str, Any]]:
        try:
            return _lines(self.fleet.array(array), self.topology.name, self.plan)
        except DrError:
            self.silent.append(array)
            return {}

    def where(self, name: str) -> list[str]:
        """Where it can be read in full: `here`, and arrays."""
        return [*(["here"] if name in self.local else []), *self._whole.get(name, ())]

    def read(self, name: str) -> dict[str, Any]:
        """The document in full. Raises BadInput where no place that answers holds it any more."""
        if name in self.local:
            return self.local[name]
        for array in self._whole.get(name, ()):
            try:
                text = self.fleet.array(array).read_record(keys.report_key(self.topology.name, self.plan, name))
            except DrError:
                continue
            document = _parsed(text)
            if document is not None and document.get("report") == name:
                return document
        silent = f" ({', '.join(self.silent)} does not answer)" if self.silent else ""
        raise BadInput(
            f"report {name} of plan {self.plan} is known by its summary only: arrays keep the last {IN_FULL} in full, and this machine does not "
            f"have it{silent}; look on the machine that made it; nothing was done"
        )
