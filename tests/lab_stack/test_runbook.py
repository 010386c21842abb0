"""The day on which no dr can be run: what the printed runbook says is typed on the machines, word for word, and dr takes over again from there."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from lab.machines import Lab
from tests.lab_stack.support.guests import Guest
from tests.lab_stack.support.machines import exports, running, wait
from tests.lab_stack.support.shop import PLAN, VMS, Shop

_BLOCK = re.compile(r"\*\*On (?P<where>[^*]+)\*\*(?:: `(?P<enter>[^`]+)`)?\n\n```sh\n(?P<lines>.*?)```", re.DOTALL)
_SECTION = re.compile(r"^### ([A-Z]\d)\. .*?(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_END = "--- end of what was pasted"


@dataclass
class Hands:
    """A person with the printed document, and a session open on each machine that it names."""

    lab: Lab
    sections: dict[str, str]
    closing: ExitStack
    seen: list[str] = field(default_factory=list)
    """What stood on the screens."""
    _sessions: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def do(self, *sections: str) -> str:
        """Paste every block of the sections on the machine that it is for; what the machines said."""
        said = "".join(self._paste(*block) for name in sections for block in self._blocks(name))
        self.seen.append(said)
        return said

    def _blocks(self, section: str) -> Iterator[tuple[str, str, str]]:
        found = list(_BLOCK.finditer(self.sections[section]))
        assert found, f"section {section} has no commands"
        for match in found:
            yield match["where"], match["enter"] or "", match["lines"]

    def _paste(self, where: str, enter: str, lines: str) -> str:
        if not enter:
            return ""  # dr, which the test calls itself, and its services, of which there are none here
        if where.startswith("guest of VM "):
            return self._in_guest(enter, lines)
        # These machines have no KVM, and the document says what to write then.
        lines = lines.replace('<domain type="kvm"', '<domain type="qemu"')
        session = self._session(where, enter)
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write(f"{lines}\necho '{_END}'\n")
        session.stdin.flush()
        said = [f"[{where}] {line}" for line in iter(session.stdout.readline, f"{_END}\n") if line]
        assert session.poll() is None, f"{where}: the session ended: {said}"
        return "".join(said)

    def _session(self, where: str, enter: str) -> subprocess.Popen[str]:
        if where not in self._sessions:
            session = subprocess.Popen(
                [*shlex.split(enter), "sh 2>&1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self.closing.callback(session.kill)
            self._sessions[where] = self.closing.enter_context(session)
        return self._sessions[where]

    def _in_guest(self, enter: str, lines: str) -> str:
        """A console takes a person; the agent runs the same lines in the same guest."""
        name = enter.split()[-1]
        (host,) = running(self.lab)[name]
        guest = Guest(self.lab.machine(host), name)
        wait(f"guest {name} to come up", guest.answers)
        return guest.run("/bin/sh", "-c", lines)


def _hands(shop: Shop, closing: ExitStack) -> Hands:
    """The document is printed while all is well."""
    printed = shop.folder / "runbook.md"
    shop.dr("runbook", PLAN, "--to", shop.there, "-o", str(printed))
    text = printed.read_text(encoding="utf-8")
    return Hands(shop.lab, {match[1]: match[0] for match in _SECTION.finditer(text)}, closing)


def _by_hand(shop: Shop, site: str) -> dict[str, Guest]:
    """The guests that were started by hand, each on one host of the site."""
    found = running(shop.lab)
    guests = {}
    for vm in VMS:
        (host,) = found[f"{vm}-byhand"]
        assert shop.lab.machine(host).site == site
        guests[vm] = Guest(shop.lab.machine(host), f"{vm}-byhand")
        wait(f"guest {vm} to come up by hand", guests[vm].answers)
        wait(f"the ledger of {vm}", guests[vm].has_ledger)
    return guests


def test_a_lost_site_is_brought_up_by_hand_and_dr_takes_over(shop: Shop) -> None:
    home, target = shop.here, shop.there
    marks = shop.write()
    shop.protect()
    shop.write(5)
    with ExitStack() as closing:
        hands = _hands(shop, closing)
        epoch = shop.status()["epoch"]
        shop.lab.lose_site(home)

        (chosen,) = re.findall(r"^\[[^]]*\] (e\d+-s\d+-[0-9a-f]{8})$", hands.do("H4"), re.MULTILINE)
        hands.do("H5", "H6", "H7")
        assert {vm: guest.ledger().last for vm, guest in _by_hand(shop, target).items()} == marks, hands.seen
        written = _written(shop, target)

        hands.do("A1")
        assert running(shop.lab) == {}
        shop.move(target, "--point", chosen, "--force", f"{epoch}: it was brought up by hand")
        assert shop.last() == marks
        hands.do("A2")
        assert running(shop.lab) == {}
        hands.do("A3")
        shop.dr("start", PLAN, *shop.word("its disks were exchanged"))
        assert shop.last() == written
        shop.lab.return_site(home)
        shop.well(written)
        hands.do("A4")
        _nothing_left(shop)
        shop.move(home)
        shop.well(written)


def test_a_planned_move_by_hand_and_the_way_back(shop: Shop) -> None:
    home, target = shop.here, shop.there
    shop.write()
    shop.protect()
    marks = shop.write(5)
    with ExitStack() as closing:
        hands = _hands(shop, closing)
        hands.do("H1")
        assert running(shop.lab) == {}
        hands.do("H2", "H3")
        assert exports(shop.array(home)) == {}
        # What the document says for those who could do H3.
        hands.sections["H4"] = hands.sections["H4"].replace("# After H3, where every volume was sent: ", "")
        hands.do("H4", "H5", "H6", "H7")
        assert {vm: guest.ledger().last for vm, guest in _by_hand(shop, target).items()} == marks, hands.seen
        written = _written(shop, target)

        hands.do("B1", "B2", "B3", "B4", "B5")
        assert {vm: guest.ledger().last for vm, guest in _by_hand(shop, home).items()} == written, hands.seen
        written = _written(shop, home)

        hands.do("C1")
        assert running(shop.lab) == {}
        hands.do("C2")
        shop.dr("start", PLAN)
        assert shop.last() == written
        shop.well(written)
        hands.do("C3")
        _nothing_left(shop)
        shop.well(written)
        shop.move(target)
        shop.well(written)


def _nothing_left(shop: Shop) -> None:
    for site in (shop.here, shop.there):
        listed = shop.array(site).exec(["zfs", "list", "-H", "-t", "all", "-o", "name", "-r", "tank"]).out
        assert "byhand" not in listed, listed


def _written(shop: Shop, site: str) -> dict[str, int]:
    """Each guest that runs by hand writes three entries more; its last one then, with all of them whole."""
    found = {}
    for vm, guest in _by_hand(shop, site).items():
        guest.ledger("add", "3")
        ledger = guest.ledger("flush")
        assert ledger.intact, (vm, ledger)
        address = str(shop.document["vms"][vm]["nics"][0]["address"][site])
        assert address in guest.run("/bin/sh", "-c", "ip -4 addr")
        found[vm] = ledger.last
    return found
