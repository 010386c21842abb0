"""Scenario files: what happens to a plan, and what must be true then. Read and checked here; demo/deeds.py and demo/truths.py do them.

The form is scenario.schema.json. Every fault of a file is found at once, with its path and line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from dr_provider.model import document
from dr_provider.model.errors import BadInput
from dr_provider.model.problems import Path as Place
from dr_provider.model.problems import Report, did_you_mean, listed, path_text, show

__all__ = ["Call", "Scenario", "ScenarioStep", "load", "parse", "schema"]


@dataclass(frozen=True)
class Call:
    """A deed or a fact of the file with its words. `only`: where it counts ("" everywhere). `place`: where it stands, for messages."""

    name: str
    args: Mapping[str, Any]
    place: str
    only: str = ""


@dataclass(frozen=True)
class ScenarioStep:
    """`numbers`: quantities that this step measures, by the name under which they are shown."""

    title: str
    do: tuple[Call, ...]
    facts: tuple[Call, ...]
    numbers: Mapping[str, tuple[str, ...]]
    only: str = ""


@dataclass(frozen=True)
class Scenario:
    """`name` is the file's."""

    name: str
    title: str
    plan: str
    steps: tuple[ScenarioStep, ...]


def load(path: Path) -> Scenario:
    """The scenario of a file. Raises BadInput with every fault."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{path}: it cannot be read ({reason}); wanted a scenario file; nothing was done") from error
    return parse(text, source=str(path), name=path.stem)


def parse(text: str, *, source: str, name: str) -> Scenario:
    """The scenario of a text; `source` names it in errors. Raises BadInput with every fault."""
    report = Report()
    read = document.read(text, source, report)
    for error in _validator().iter_errors(read.data):
        report.add(*_sentence(error))
    if report:
        problems = report.sorted(read.places)
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        raise BadInput(f"{source}: {count}; nothing was done.\n" + "\n".join(f"  {p}" for p in problems))
    data = read.data
    return Scenario(name, data["title"], data["plan"], tuple(_steps(data["steps"])))


def _steps(listing: list[dict[str, Any]]) -> Iterator[ScenarioStep]:
    for number, step in enumerate(listing):
        yield ScenarioStep(
            step["title"],
            tuple(_calls(step.get("do", []), ("steps", number, "do"))),
            tuple(_calls(step.get("facts", []), ("steps", number, "facts"))),
            {name: tuple(quantities) for name, quantities in step.get("numbers", {}).items()},
            step.get("only", ""),
        )


def _calls(listing: list[str | dict[str, dict[str, Any]]], place: Place) -> Iterator[Call]:
    for number, item in enumerate(listing):
        name, words = (item, {}) if isinstance(item, str) else next(iter(item.items()))
        args = {key: value for key, value in words.items() if key != "only"}
        yield Call(name, args, path_text((*place, number, name)), words.get("only", ""))


@cache
def schema() -> dict[str, Any]:
    """The schema itself."""
    text = Path(__file__).with_name("scenario.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(schema())


def _sentence(error: ValidationError) -> tuple[Place, str]:
    place: Place = tuple(error.absolute_path)
    value: Any = error.instance
    wanted: Any = error.validator_value
    known = list(error.schema.get("properties", {})) if isinstance(error.schema, Mapping) else []
    match error.validator:
        case "additionalProperties":
            strange = next(str(key) for key in value if key not in known)
            return (*place, strange), f"there is no such word here{did_you_mean(strange, known)}"
        case "required":
            missing = [key for key in wanted if key not in value]
            return place, f"wanted {listed(missing)} in it"
        case "pattern" if known:
            if value in known:
                return place, f"{value} needs words of its own: wanted {{{value}: {{...}}}}"
            return place, f"there is no {show(value)} here{did_you_mean(value, known)}"
        case "pattern":
            return place, f"found {show(value)}; wanted a name: small letters, digits and -"
        case "enum":
            return place, f"found {show(value)}; wanted {listed(map(str, wanted), 'or')}"
        case "const":
            return place, f"found {show(value)}; wanted {wanted}"
        case "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            return place, f"found {show(value)}; wanted {listed(_KINDS[kind] for kind in kinds)}".replace(
                " and ", " or "
            )
        case "minProperties":
            return place, f"found an empty mapping; wanted one of {listed(known, 'or')}"
        case "maxProperties":
            return place, f"found {listed(map(str, value))}; wanted one thing a line of the list"
        case _:
            return place, error.message


_KINDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
}
