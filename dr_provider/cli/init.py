"""`dr init`: writes a first topology by asking."""

from __future__ import annotations

import os
import re
import select
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from dr_provider.cli.common import Session, command
from dr_provider.cli.confirm import must_be_able_to_ask
from dr_provider.cli.new_topology import Answers, Machines, render, stack_config
from dr_provider.cli.paper import Paper
from dr_provider.model import addresses, units
from dr_provider.model.errors import BadInput, Stopped
from dr_provider.model.problems import show

__all__ = ["add"]

_LISTEN = 0.2
"""Seconds between two looks whether somebody has pressed Ctrl-C."""

T = TypeVar("T")
Read = Callable[[str], T]


def init(
    session: Session,
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="The file to write; one that is there is left as it is.")
    ] = None,
    driver: Annotated[
        str | None,
        typer.Option("--driver", metavar="KIND", help="embedded (a trial on this machine) or real (ZFS and libvirt)."),
    ] = None,
    sites: Annotated[str | None, typer.Option("--sites", metavar="A,B", help="The sites; the first is home.")] = None,
    vms: Annotated[
        str | None, typer.Option("--vms", metavar="A,B", help="The VMs, in the order in which they start.")
    ] = None,
    plan: Annotated[str | None, typer.Option("--plan", metavar="PLAN", help="The plan's name.")] = None,
    every: Annotated[
        str | None, typer.Option("--every", metavar="15m", help="How often a recovery point is taken.")
    ] = None,
    stack: Annotated[
        str | None, typer.Option("--stack", metavar="STACK", help="Write the config of this Pulumi stack, too.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask nothing: what is not given is as the questions propose it.")
    ] = False,
) -> None:
    """Write a first topology by asking. Enter takes what stands in brackets: a trial with two sites on this machine.

    \b
    dr init
    dr init stacks/topology/office.yaml --name office --vms db,web --yes
    dr init shop.yaml --driver real --sites east,west
    """
    must_be_able_to_ask("init", yes=yes)
    if file is not None:
        _free(Path(file))  # before anybody has answered anything
    ask = _Asking(session, yes)
    if not yes:
        session.progress("Enter takes what stands in brackets; Ctrl-C ends, and nothing is written.")
    try:
        called = ask("Name of the topology, its identity for ever", session.options.name, _proposed(file), _name)
        path = _free(Path(file) if file is not None else _default_file(called))
        config = _free(_config_of(stack, path)) if stack is not None else None
        answers = _answers(ask, called, driver, sites, vms, plan, every)
        text = render(answers, path)
    except KeyboardInterrupt:
        session.progress("")
        raise Stopped("stopped by Ctrl-C; nothing was written") from None
    _write(path, text)
    if config is not None:
        _write(config, stack_config(answers, _from_program(path)))
    document: dict[str, Any] = {
        "file": str(path),
        "stackConfig": str(config) if config else None,
        "name": answers.name,
        "plan": answers.plan,
        "sites": list(answers.sites),
        "vms": list(answers.vms),
    }
    session.emit(document, lambda paper: _next(paper, answers, path, config, stack))


def _answers(
    ask: _Asking,
    called: str,
    driver: str | None,
    sites: str | None,
    vms: str | None,
    plan: str | None,
    every: str | None,
) -> Answers:
    kind = ask(
        "embedded (a trial, nothing needed but this machine) or real (ZFS arrays, libvirt hosts)",
        driver,
        "embedded",
        _kind,
    )
    where = ask("Sites, the first is home", sites, "east west", _sites)
    machines: dict[str, Machines] = {}
    for number, site in enumerate(where, 1):
        if kind == "real":
            machines[site] = Machines(
                array=ask(
                    f"{site}: the ZFS array's SSH address",
                    None,
                    f"ssh://root@10.0.{number}.10",
                    _other(_ssh, [known.array for known in machines.values()], "another site's array"),
                ),
                pool=ask(f"{site}: the pool, or a dataset that is given to dr", None, "tank", _pool),
                host=ask(
                    f"{site}: the host's libvirt URI",
                    None,
                    f"qemu+ssh://root@10.0.{number}.11/system",
                    _other(addresses.libvirt_uri, [known.host for known in machines.values()], "another site's host"),
                ),
                bridge=ask(f"{site}: the bridge of its VMs", None, "br-prod", _bridge),
            )
    drill = (
        ask(
            "Bridge for drills, apart from production, at every site",
            None,
            "br-isolated",
            _other(_bridge, [at.bridge for at in machines.values()], "production's own"),
        )
        if kind == "real"
        else "br-isolated"
    )
    return Answers(
        name=called,
        driver=kind,
        sites=where,
        machines=machines,
        drill_bridge=drill,
        vms=ask("VMs, in the order in which they start", vms, "db web", _names),
        cpus=ask("CPUs of each", None, "2", _cpus),
        memory=ask("Memory of each", None, "4GiB", _size),
        disk=ask("Disk of each", None, "64MiB" if kind == "embedded" else "20GiB", _size),
        plan=ask("Name of the plan that protects and moves them", plan, called, _name),
        every=ask("A recovery point every", every, "15m", _duration),
    )


# -- asking -----------------------------------------------------------------------------------------------


class _Asking:
    """Puts a question on stderr and reads a line; an answer that cannot be is asked for again with what would be right."""

    def __init__(self, session: Session, yes: bool) -> None:
        self.session = session
        self.yes = yes

    def __call__(self, question: str, given: str | None, default: str, read: Read[T]) -> T:
        """`given`: from the command line; raises BadInput where that cannot be."""
        if given is not None or self.yes:
            try:
                return read(given if given is not None else default)
            except ValueError as error:
                raise BadInput(
                    f"dr init: {question if question[1:2].isupper() else question[:1].lower() + question[1:]}: found {show(given)}; {error}; nothing was done"
                ) from None
        while True:
            try:
                return read(self._line(f"{question} [{default}]: ") or default)
            except ValueError as error:
                said = str(error)
                self.session.progress(f"  {said[:1].upper()}{said[1:]}.")

    def _line(self, question: str) -> str:
        print(question, end="", file=sys.stderr, flush=True)
        # A Ctrl-C that comes just before a read begins would be heard only after the line.
        while not select.select([sys.stdin], [], [], _LISTEN)[0]:
            pass
        line = sys.stdin.readline()
        if not line:
            self.session.progress("")
            raise Stopped("the answers ended before the questions did; nothing was written")
        return line.strip()


_NAME = r"[a-z][a-z0-9-]{0,30}"
_LONGEST_SITE = 29
_NAME_WANTED = "wanted a name: a small letter, then small letters, digits and -, 31 characters at most"


_VALUES = ("null", "true", "false")
"""What YAML takes for a value and not for text."""


def _name(text: str) -> str:
    if not re.fullmatch(_NAME, text):
        raise ValueError(_NAME_WANTED)
    if text in _VALUES:
        raise ValueError(f"{text} is a value to YAML; wanted another name")
    return text


def _names(text: str) -> tuple[str, ...]:
    """Names between commas or spaces, each once."""
    names = tuple(_name(word) for word in text.replace(",", " ").split())
    if not names:
        raise ValueError("wanted at least one name")
    if len(set(names)) < len(names):
        raise ValueError("wanted each name once")
    return names


def _sites(text: str) -> tuple[str, ...]:
    names = _names(text)
    if len(names) < 2:
        raise ValueError("wanted two sites at least, such as east west: what is at one site only is lost with it")
    if reserved := {"drill", "operator"}.intersection(names):
        raise ValueError(f"a site may not be called {sorted(reserved)[0]}; wanted another name")
    if max(map(len, names)) > _LONGEST_SITE:
        raise ValueError(f"wanted sites of at most {_LONGEST_SITE} characters: arrays and hosts are named after them")
    return names


def _kind(text: str) -> str:
    if text not in ("embedded", "real"):
        raise ValueError("wanted embedded or real")
    return text


def _cpus(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) <= 1024:
        raise ValueError("wanted a whole number from 1 to 1024")
    return int(text)


def _size(text: str) -> str:
    units.block_size(text)
    return text


def _duration(text: str) -> str:
    units.duration(text)
    return text


def _ssh(text: str) -> str:
    addresses.ssh(text)
    return text


def _pool(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*", text) or len(text) > 120:
        raise ValueError("wanted the name of a ZFS pool or dataset, such as tank or tank/dr")
    return text


def _bridge(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", text):
        raise ValueError("wanted a bridge's or network's name: letters, digits, dots, - and _, 63 characters at most")
    return text


def _other(read: Read[str], taken: Iterable[str], what: str) -> Read[str]:
    """An answer that was not given before."""

    def look(text: str) -> str:
        found = read(text)
        if found in taken:
            raise ValueError(f"{found} is {what}; wanted another")
        return found

    return look


# -- files ------------------------------------------------------------------------------------------------


def _proposed(file: str | None) -> str:
    """The topology's name: its file's, where that can be one."""
    stem = Path(file).stem if file is not None else ""
    return stem if re.fullmatch(_NAME, stem) else "office"


def _default_file(name: str) -> Path:
    """Where the stacks of a project look, else here."""
    folder = Path("stacks/topology")
    return (folder if folder.is_dir() else Path()) / f"{name}.yaml"


def _config_of(stack: str, topology: Path) -> Path:
    from dr_provider.cli.stack import project_file, stack_file

    project = project_file(topology.absolute().parent)
    if project is None:
        raise BadInput(
            f"dr init: no folder above {topology} has a Pulumi.yaml, so there is no place for the config of stack {stack}; nothing was done"
        )
    _stack_name(stack)
    return Path(os.path.relpath(stack_file(project, stack)))


def _from_program(topology: Path) -> str:
    """The topology as dr:topology names it: from the folder of the stacks' program."""
    from dr_provider.cli.stack import project_of

    file, _, main = project_of(topology.absolute().parent)
    return os.path.relpath(topology.absolute(), file.parent / main)


def _stack_name(stack: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", stack):
        raise BadInput(
            f"dr init: {show(stack)} is no name of a stack; wanted letters, digits and . _ -; nothing was done"
        )


def _free(path: Path) -> Path:
    if path.exists() or path.is_symlink():
        raise BadInput(
            f"{path}: it is there already, and dr init overwrites nothing; name another file; nothing was done"
        )
    return path


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise BadInput(f"{path}: it cannot be written ({error.strerror})") from error


def _next(paper: Paper, answers: Answers, path: Path, config: Path | None, stack: str | None) -> None:
    paper.line(f"{path} is written, and valid.", "green")
    if config is not None:
        paper.line(f"{config} is written.", "green")
    if answers.driver == "real":
        paper.line(f"See that every address in it is right, then look at the machines: dr doctor {path}")
    paper.line("Next:")
    if config is not None:
        make = [f"pulumi stack init {stack}", "pulumi up"]
        at = ""
    else:
        at = f" --topology {path}"
        make = [f"dr apply{at}"]
    for line in (*make, f"dr protect {answers.plan} --now{at}", f"dr status{at}", f"dr drill start {answers.plan}{at}"):
        paper.line(line, "bold", indent=4)


def add(app: typer.Typer) -> None:
    command(app, panel="Look")(init)
