"""The topology's JSON Schema, and its errors as plain sentences.

Definitions in the schema carry a `title`; where one names a parser of PARSERS, the value is read by it, and its sentence is
the error. So what a size, a duration or an address is stands in one place, and the schema's patterns serve editors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from dr_provider.model import addresses, credentials, units
from dr_provider.model.problems import Path, Report, did_you_mean, listed, show

__all__ = ["LATER_DRIVERS", "PARSERS", "check_schema", "schema"]

PARSERS: Mapping[str, Callable[[str], object]] = {
    "size": units.size,
    "block size": units.block_size,
    "duration": units.duration,
    "delay": units.delay,
    "IP address": addresses.ip,
    "address": addresses.interface,
    "MAC": addresses.mac,
    "DNS name": addresses.dns_name,
    "credential reference": credentials.parse,
    "environment value": credentials.parse_variable,
    "SSH address": addresses.ssh,
    "portal": addresses.portal,
    "S3 URL": addresses.s3_url,
    "libvirt URI": addresses.libvirt_uri,
}
LATER_DRIVERS = {"array": ("ceph", "ontap"), "host": ("hyperv",)}

_ANNOTATIONS = frozenset({"description", "default", "examples"})
_MAY_BE_SECRET = ("credential reference", "environment value", "S3 URL", "libvirt URI")
_SUCH_AS = {"tcp": "tcp: 5432", "before": "after: move", "tier": "tier: 1"}
"""By the first of two keys of which one must be given."""
_REFERENCES = {"env": "NAME", "file": "/PATH"}
_TIER_OR_VM = re.compile(r"(tier|vm)\W+([a-z0-9-]+)")
_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "nothing",
}
_PATTERNS = {
    "name": "wanted a name: a small letter, then small letters, digits and -, 31 characters at most",
    "path": "wanted a path without control characters",
    "bridge": "wanted a bridge's or network's name: letters, digits, dots, - and _, 63 characters at most",
    "dataset": "wanted the name of a ZFS pool or dataset, such as tank or tank/dr",
    "IQN": "wanted an iSCSI name in small letters, such as iqn.2026-11.org.example:west-1",
    "bucket": "wanted a bucket's name: 3 to 63 small letters, digits, dots and -",
    "word": "wanted letters, digits, dots, - and _, 64 characters at most",
    "text": "wanted one line of text without control characters",
    "line": "wanted one line of text without control characters, with something in it",
    "phone number": "wanted a phone number, such as +1 555 0100",
    "mail address": "wanted a mail address, such as oncall@example.org",
    "environment variable": "wanted the name of an environment variable: letters, digits and _, 128 characters at most",
    "template": "wanted text without the character NUL",
}


@cache
def schema() -> dict[str, Any]:
    """The schema itself."""
    text = resources.files("dr_provider.model").joinpath("topology.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def check_schema(data: Any, report: Report) -> None:
    """Put every fault of form into the report. The data has text keys only."""
    for error in _validator().iter_errors(data):
        for path, message in _sentences(error):
            report.add(path, message)


@cache
def _validator() -> Validator:
    checker = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    rules = {"pattern": _pattern, "title": _title}
    kind: type[Validator] = extend(Draft202012Validator, rules, type_checker=checker)  # type: ignore[no-untyped-call]
    # References are resolved once, here: followed anew at each value they take two thirds of the time.
    return kind(_resolved(schema(), schema()["$defs"]))


def _resolved(part: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema with each definition where it is referred to (none refers to itself)."""
    if isinstance(part, list):
        return [_resolved(each, definitions) for each in part]
    if not isinstance(part, dict):
        return part
    beside = {key: _resolved(value, definitions) for key, value in part.items() if key not in ("$ref", "$defs")}
    if "$ref" not in part:
        return beside
    definition = _resolved(definitions[part["$ref"].removeprefix("#/$defs/")], definitions)
    if set(beside) <= _ANNOTATIONS:
        return {**definition, **beside}
    return {**beside, "allOf": [*beside.get("allOf", []), definition]}


def _pattern(validator: Any, pattern: str, value: object, within: Mapping[str, Any]) -> Iterator[ValidationError]:
    """The whole text must match (`$` alone lets a line end pass); what a parser reads is left to it."""
    ours = isinstance(value, str) and within.get("title") not in PARSERS
    if ours and not re.fullmatch(pattern.removeprefix("^").removesuffix("$"), str(value)):
        yield ValidationError("pattern")


def _title(validator: Any, title: str, value: object, within: Mapping[str, Any]) -> Iterator[ValidationError]:
    if isinstance(value, str) and title in PARSERS:
        try:
            PARSERS[title](value)
        except ValueError as error:
            yield ValidationError(str(error))


def _sentences(error: ValidationError) -> Iterator[tuple[Path, str]]:
    path: Path = tuple(error.absolute_path)
    value: Any = error.instance
    wanted: Any = error.validator_value
    within: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    if "propertyNames" in error.absolute_schema_path:
        path = (*path, str(value))
    match error.validator:
        case "additionalProperties":
            known = within.get("properties", {})
            for key in value:
                if key in _REFERENCES and within.get("title") == "value":
                    yield (
                        path,
                        f'a reference is one text, such as "{key}:{_REFERENCES[key]}"; what is no secret is written {{value: TEXT}}',
                    )
                elif key not in known:
                    yield (*path, key), _unknown_key(key, known, str(within.get("title", "mapping")))
        case "required" if within.get("title") == "value" and _REFERENCES.keys() & set(value):
            return  # the key that is there is the fault
        case "required":
            for key in wanted:
                if key not in value:
                    yield path, f"{key} is missing{_hint(within, key)}"
        case "type":
            yield path, _wrong_type(value, wanted, within)
        case "pattern":
            yield path, f"found {show(value)}; {_PATTERNS.get(str(within.get('title')), 'wanted other text')}"
        case "title" if within.get("title") in _MAY_BE_SECRET:
            yield path, error.message  # what stands there may be the secret itself
        case "title":
            yield path, f"found {show(value)}; {error.message}"
        case "enum":
            yield path, _not_one_of(path, value, wanted, str(within.get("title")))
        case "const":
            yield path, _not_const(path, value, wanted)
        case "not":
            yield path, f"a site may not be called {listed(wanted['enum'], 'or')}; give it another name"
        case "minimum" | "maximum":
            low, high = within.get("minimum"), within.get("maximum")
            yield path, f"found {show(value)}; wanted a whole number from {low} to {high}"
        case "minItems" | "minProperties":
            yield path, "is empty; wanted at least one entry"
        case "maxItems":
            yield path, f"has {len(value)} entries; wanted at most {wanted}"
        case "minLength" | "maxLength":
            wanted_text = _PATTERNS.get(str(within.get("title")), "wanted a path")
            if within.get("title") == "template":
                wanted_text = f"wanted one of {within['minLength']} to {within['maxLength']}"
            yield path, f"found a text of {len(value)} characters; {wanted_text}"
        case "oneOf":
            if not isinstance(value, dict):
                return  # its type is the fault
            one, other = (each["required"][0] for each in wanted)
            both = f"gives both {one} and {other}" if one in value else f"gives neither {one} nor {other}"
            yield path, f"{both}; wanted one of them, such as {_SUCH_AS[one]}"
        case _:
            yield path, f"found {show(value)}, which cannot stand here"


def _unknown_key(key: str, known: Mapping[str, Any], title: str) -> str:
    if not known:
        return f"there is no key {show(key)} here: a {title} has no keys of its own so far; leave it out"
    article = "an" if title[:1] in "aeiou" else "a"
    near = did_you_mean(key, known)
    return f"there is no key {show(key)} in {article} {title}{near}"


def _hint(within: Mapping[str, Any], key: str) -> str:
    description = within.get("properties", {}).get(key, {}).get("description", "")
    first = str(description).split(". ")[0].rstrip(".")
    plain = first[:1].lower() + first[1:] if first[1:2].islower() else first  # SSH stays SSH
    return f"; wanted: {plain}" if first else ""


def _wrong_type(value: object, wanted: str | list[str], within: Mapping[str, Any]) -> str:
    title = str(within.get("title", ""))
    if title in PARSERS and isinstance(wanted, str):
        try:
            PARSERS[title]("")
        except ValueError as error:
            return f"found {show(value)}; {error}"
    kinds = [_TYPES[kind] for kind in ([wanted] if isinstance(wanted, str) else wanted) if kind != "null"]
    right = "a name" if title in ("name", "site name", "site or drill") else listed(kinds, "or")
    quotes = "; put it in quotes" if right in ("text", "a name") and isinstance(value, bool | int | float) else ""
    return f"found {show(value)}; wanted {right}{quotes}"


def _not_one_of(path: Path, value: object, wanted: list[str], title: str) -> str:
    if path[-1:] == ("driver",) and path[0] in ("arrays", "hosts") and isinstance(value, str):
        kind = "array" if path[0] == "arrays" else "host"
        built = listed(wanted)
        if value in LATER_DRIVERS[kind]:
            return f"driver {value} is not built yet; built: {built}"
        other = {"array": "host", "host": "array"}[kind]
        if value in LATER_DRIVERS[other]:
            return f"driver {value} is one of {other}s, not of {kind}s, and is not built yet; built: {built}"
        near = did_you_mean(value, wanted)
        return f"there is no driver {show(value)}{near if 'mean' in near else ''}; built: {built}"
    near = did_you_mean(value, wanted) if isinstance(value, str) and len(wanted) > 1 else ""
    hint = near if "mean" in near else _part(str(value)) if title == "phase" else ""
    return f"found {show(value)}; wanted {listed(wanted, 'or')}{hint}"


def _part(value: str) -> str:
    """The end of a sentence about a place that is no phase: it may have been meant as a tier or a VM."""
    meant = _TIER_OR_VM.fullmatch(value.strip())
    return f"; did you mean {{{meant[1]}: {meant[2]}}}?" if meant else "; a tier is {tier: 1}, a VM {vm: NAME}"


def _not_const(path: Path, value: object, wanted: object) -> str:
    if path == ("version",):
        newer = isinstance(value, int) and not isinstance(value, bool) and value > 1
        return f"found {show(value)}; wanted 1{', the only version that this dr reads; it was written for a newer one' if newer else ''}"
    shown = str(wanted).lower() if isinstance(wanted, bool) else wanted
    return f"found {show(value)}; wanted {shown}"
