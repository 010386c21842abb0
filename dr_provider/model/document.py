"""Text to plain data with the place of every part: YAML with the meaning of version 1.2, or JSON.

`no`, `yes`, `on` and `off` are names. Keys are always text, as written. A key given twice is a problem with its line;
anchors, aliases and merge keys (`<<`) are followed, within limits. The nodes are read here, not by a YAML constructor, so
that no tag makes an object and no directive changes the meaning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from dr_provider.model.errors import BadInput
from dr_provider.model.problems import Path, Report, show

__all__ = ["Document", "read"]

_MOST_VALUES = 500_000
_DEEPEST = 60
_CORE = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9]+", re.ASCII)
_OCTAL = re.compile(r"0o[0-7]+", re.ASCII)
_HEX = re.compile(r"0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII)


@dataclass
class Document:
    """Plain data (dict, list, str, int, float, bool, None) and the line and column, from 1, of its parts."""

    data: Any
    places: dict[Path, tuple[int, int]] = field(default_factory=dict)


def read(text: str, source: str, report: Report, *, places: bool = True) -> Document:
    """Read a document. Raises BadInput for text that cannot be read at all; duplicate keys and the like go into `report`.

    JSON is tried first, being faster; its places are known only to the YAML reader, so it is left out if `places`.
    """
    if not places and text.lstrip()[:1] == "{":
        try:
            return Document(json.loads(text, object_pairs_hook=_unique))
        except (ValueError, RecursionError):
            pass  # the YAML reader knows how to say it
    root = _compose(text, source)
    reader = _Reader(source, report)
    data = reader.value(root, (), ())
    return Document(data, reader.places if "\n" in text.strip() else {})


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is given twice")
    return result


def _compose(text: str, source: str) -> Node:
    yaml = YAML(typ="rt", pure=True)
    try:
        nodes: Iterator[Node] = yaml.compose_all(text)
        first = next(nodes, None)
        more = next(nodes, None) if first is not None else None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BadInput(f"{source}{where}: this is not YAML: {_reason(error, text)}; nothing was done.") from error
    except RecursionError as error:
        raise BadInput(f"{source}: it is nested too deeply to be a topology; nothing was done.") from error
    except YAMLError as error:
        found = getattr(error, "character", None)
        at = getattr(error, "position", None)
        what = f"a character that YAML does not allow{f' ({found:#x})' if isinstance(found, int) else ''}"
        line = f", line {text.count(chr(10), 0, at) + 1}" if isinstance(at, int) else ""
        raise BadInput(f"{source}{line}: this is not YAML: found {what}; nothing was done.") from error
    except Exception as error:  # the YAML library fails in many ways on text that is not YAML
        raise BadInput(f"{source}: this is not YAML ({type(error).__name__}); nothing was done.") from error
    if first is None:
        raise BadInput(f"{source}: it is empty; wanted a topology that starts with `version: 1`; nothing was done.")
    if more is not None:
        line = more.start_mark.line + 1
        raise BadInput(
            f"{source}, line {line}: a second document starts here; wanted one topology in a file; nothing was done."
        )
    return first


def _reason(error: MarkedYAMLError, text: str) -> str:
    mark = error.problem_mark
    if mark is not None:
        lines = text.splitlines()
        line = lines[mark.line] if mark.line < len(lines) else ""
        if "\t" in line[: len(line) - len(line.lstrip())] or "'\\t'" in str(error.problem):
            return "a line is indented with a tab; use spaces"
    parts = [part for part in (error.context, error.problem) if part]
    return " ".join(" ".join(str(part).split()) for part in parts).rstrip(".") or "it cannot be read"


class _Reader:
    def __init__(self, source: str, report: Report) -> None:
        self.source = source
        self.report = report
        self.places: dict[Path, tuple[int, int]] = {}
        self.count = 0

    def value(self, node: Node, path: Path, above: tuple[int, ...]) -> Any:
        self.count += 1
        if id(node) in above:
            raise BadInput(f"{self.source}, line {_line(node)}: an anchor contains itself; nothing was done.")
        if self.count > _MOST_VALUES or len(above) > _DEEPEST:
            raise BadInput(f"{self.source}: it is too large or too deep to be a topology; nothing was done.")
        self.places.setdefault(path, (_line(node), node.start_mark.column + 1))
        inside = (*above, id(node))
        if isinstance(node, MappingNode):
            return self.mapping(node, path, inside)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, number), inside) for number, item in enumerate(node.value)]
        return self.scalar(node, path) if isinstance(node, ScalarNode) else None

    def mapping(self, node: MappingNode, path: Path, above: tuple[int, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            line = _line(key_node)
            if not isinstance(key_node, ScalarNode):
                self.report.add(path, f"a list or a mapping stands as a key in line {line}; wanted a name")
                continue
            key = str(key_node.value)
            if key == "<<" and _plain(key_node):
                merged += value_node.value if isinstance(value_node, SequenceNode) else [value_node]
                continue
            if key in lines:
                self.report.add(
                    (*path, key), f"is given twice, in line {lines[key]} and in line {line}; leave one of them out"
                )
                continue
            lines[key] = line
            self.places[(*path, key)] = (line, key_node.start_mark.column + 1)
            result[key] = self.value(value_node, (*path, key), above)
        for part in merged:
            more = self.value(part, path, above)
            if not isinstance(more, dict):
                self.report.add(path, f"`<<` merges a mapping; found {show(more)}")
                continue
            for key, value in more.items():
                result.setdefault(key, value)
        return result

    def scalar(self, node: ScalarNode, path: Path) -> Any:
        text = str(node.value)
        tag = str(node.tag or "")
        if tag and not tag.startswith(_CORE):
            self.report.add(path, f"has the tag {show(tag)}, which means nothing here; leave it out")
            return text
        if not _plain(node) or tag == _CORE + "str":
            return text
        return _resolve(text)


def _resolve(text: str) -> Any:
    """A plain scalar by the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema)."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    try:
        if _INT.fullmatch(text):
            return int(text)
        if _OCTAL.fullmatch(text):
            return int(text[2:], 8)
        if _HEX.fullmatch(text):
            return int(text[2:], 16)
        if _FLOAT.fullmatch(text):
            return float(text)
    except ValueError:
        return text  # more digits than Python reads
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def _plain(node: ScalarNode) -> bool:
    return not node.style


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
