"""Characters that could reach a shell, a path, XML, SQL or a terminal, at every place of a topology: refused with the place, before anything is done."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dr_provider.model.errors import BadInput
from dr_provider.model.loader import parse
from dr_provider.model.problems import Report
from dr_provider.model.schema import check_schema
from tests.model.test_topology_drivers import REAL
from tests.support.topologies import topology_document

CONTROL = {
    "newline": "a\nb",
    "newline at the end": "shop\n",
    "carriage return": "a\rb",
    "null": "a\0b",
    "escape": "a\x1b[31mb",
    "the other escape": "a\x9b31m",
    "line separator": "a\u2028b",
    "writing direction": "a\u202eb",
    "zero width": "a\u200bb",
    "half a character": "a\ud800",
}
NAMES = {
    "shell": "a;b",
    "command": "$(id)",
    "backquotes": "`id`",
    "quote": "a'b",
    "double quote": 'a"b',
    "XML": "<x>&amp;",
    "pipe": "a|b",
    "above": "../x",
    "dots": "..",
    "option": "-x",
    "SQL": "a'; DROP TABLE volume;--",
    "per cent": "a%00",
    "blank": "a b",
    "look-alike": "\u0455hop",
    "full width": "\uff41",
    "overlong": "x" * 5000,
}
Where = tuple[str | int, ...]


def rich() -> dict[str, Any]:
    """Real components with everything that can be said of them."""
    document = copy.deepcopy(REAL)
    boot = {"kernel": "/boot/k", "initrd": "/boot/i", "cmdline": "console=ttyS0"}
    document["hosts"]["east-1"].update({"initiator": "iqn.2026-11.org.example:east-1", "boot": boot})
    nic = {"network": "prod", "mac": "52:54:00:00:00:01", "address": {"east": "10.0.1.5/24"}, "gateway": "10.0.1.1"}
    document["vms"]["db"].update({"nics": [{**nic, "dns": ["10.0.1.1"]}]})
    return document


DOCUMENTS = {"embedded": topology_document(images={"db": "db.img"}), "real": rich()}
# A path is anything that a file system takes, a kernel's words are the kernel's: no word of a shell is made of them.
FREE = {"path", "image", "identity", "knownHosts", "kernel", "initrd", "cmdline"}


def places(node: Any, path: Where = ()) -> Iterator[tuple[Where, bool]]:
    """Every key (True) and every text (False), by its path."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield (*path, key), True
            yield from places(value, (*path, key))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from places(value, (*path, number))
    elif isinstance(node, str):
        yield path, False


def put(document: dict[str, Any], path: Where, word: str, *, key: bool) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    at: Any = changed
    for part in path[:-1]:
        at = at[part]
    if key:
        at[word] = at.pop(path[-1])
    else:
        at[path[-1]] = word
    return changed


def refused(document: dict[str, Any]) -> bool:
    report = Report()
    check_schema(document, report)
    if report:
        return True
    try:
        parse(json.dumps(document), source="topology.yaml", base=Path("/etc/dr"))
    except BadInput as error:
        return error.exit_status == 2
    return False


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_changed_here_is_well_before(document: str) -> None:
    assert not refused(DOCUMENTS[document])


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("word", [*CONTROL, *NAMES])
def test_every_place_refuses_it(document: str, word: str) -> None:
    text = {**CONTROL, **NAMES}[word]
    taken = [
        (path, "key" if key else "value")
        for path, key in places(DOCUMENTS[document])
        if (word in CONTROL or key or path[-1] not in FREE)
        and not refused(put(DOCUMENTS[document], path, text, key=key))
    ]
    assert taken == []


@pytest.mark.parametrize("word", CONTROL)
def test_a_refusal_does_not_write_them_to_the_terminal(word: str) -> None:
    document = put(DOCUMENTS["embedded"], ("plans", "shop"), CONTROL[word], key=True)
    with pytest.raises(BadInput) as caught:
        parse(json.dumps(document), source="topology.yaml", base=Path("/etc/dr"))
    assert all(character.isprintable() for character in str(caught.value).replace("\n", ""))


@pytest.mark.parametrize(
    "uri",
    [
        "qemu+ssh://root:hunter2@10.0.2.11/system",
        "qemu+ssh://root@h/system?command=id",
        "qemu+ssh://root@h/\u0455ystem",
    ],
)
def test_what_a_libvirt_uri_may_not_hold(uri: str) -> None:
    assert refused(put(DOCUMENTS["real"], ("hosts", "east-1", "uri"), uri, key=False))
