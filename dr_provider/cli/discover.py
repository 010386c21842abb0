"""`dr discover`: which VMs and volumes hosts and arrays have, which VMs nothing protects, and the entries that adopt them."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dr_provider.cli.common import Session, command
from dr_provider.cli.paper import Paper
from dr_provider.model import addresses
from dr_provider.model.build import DEFAULTS
from dr_provider.model.errors import BadInput, TopologyInvalid
from dr_provider.model.topology import ArraySpec, HostSpec, Topology
from dr_provider.model.units import about, counted

if TYPE_CHECKING:
    from dr_provider.reconcile.discover import Stock
    from dr_provider.reconcile.world import World

__all__ = ["add"]

_MANY = 30


def discover(
    session: Session,
    array: Annotated[
        list[str] | None,
        typer.Option(
            "--array", metavar="[SITE=]ADDRESS", help="Without a topology: zfs:ssh://HOST/POOL or embedded:PATH."
        ),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host", metavar="[SITE=]URI", help="Without a topology: qemu+ssh://HOST/system or embedded:PATH."
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write the entries that adopt unprotected VMs; - is stdout."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit status 1 where a VM is unprotected, or somebody is silent.")
    ] = False,
) -> int:
    """List the VMs and volumes that hosts and arrays already have, and name VMs that nothing protects. Changes nothing on them.

    \b
    dr discover                                     the machines of the topology in use
    dr discover -o more.yaml                        entries for what nothing protects, to add to it
    dr discover --host east=qemu+ssh://root@10.0.1.11/system --array east=zfs:ssh://root@10.0.1.10/tank -o shop.yaml
    """
    given = [*(array or ()), *(host or ())]
    if given and (session.options.topology is not None or session.options.source is not None):
        raise BadInput(
            "dr discover: say --topology or --from, or machines by --array and --host, not both; nothing was done"
        )
    if output not in (None, "-") and Path(str(output)).exists():
        raise BadInput(f"{output}: it is there already, and dr discover overwrites nothing; nothing was done")
    if output == "-" and session.json:
        raise BadInput("dr discover: -o - and --json both want stdout; say -o FILE; nothing was done")
    from dr_provider.reconcile.discover import entries_for, stock_document, take_stock
    from dr_provider.reconcile.world import open_world

    named = _named(array or [], host or []) if given else None
    world = _in_use(session) if named is None else open_world(named, progress=session.progress)
    try:
        stock = take_stock(world)
    finally:
        if named is not None:
            world.close()
    text, todo = "", []
    if output is not None and stock.unprotected:
        text = _document(stock, entries_for(stock).text(), whole=named is not None)
        todo = _to_fill_in(stock.topology, text, whole=named is not None)
    document = {**stock_document(stock), "written": output if text else None, "toFillIn": todo}
    _written(output, text)
    if output != "-":
        session.emit(document, lambda paper: _show(paper, document, stock, output if text else None, output))
    elif not text:
        session.progress("nothing to write: every VM that was found is protected")
    return 1 if check and (stock.unprotected or stock.silent) else 0


def _in_use(session: Session) -> World:
    """The machines of the topology in use; a newcomer, who has none, is told of the other way."""
    try:
        session.topology()
    except TopologyInvalid:
        raise
    except BadInput as error:
        if session.options.topology or session.options.source or os.environ.get("DR_TOPOLOGY"):
            raise
        raise BadInput(
            f"{error}. Without a topology name the machines: dr discover --host east=qemu+ssh://root@HOST/system --array east=zfs:ssh://root@HOST/POOL"
        ) from None
    return session.world()


# -- machines that no topology names ------------------------------------------------------------------------


def _named(arrays: Sequence[str], hosts: Sequence[str]) -> Topology:
    """A topology of nothing but these machines. Raises BadInput."""
    from dr_provider.arrays.registry import spec_at

    found: dict[str, ArraySpec] = {}
    for word in arrays:
        site, address = _site(word)
        spec = spec_at(address)
        name = _next(f"{site}-", found, "abcdefghijklmnopqrstuvwxyz")
        found[name] = ArraySpec(name, site, spec.driver, {**spec.options, **_portal(spec)})
    machines: dict[str, HostSpec] = {}
    for word in hosts:
        site, uri = _site(word)
        name = _next(f"{site}-", machines, [str(n) for n in range(1, 1000)])
        machines[name] = _host(name, site, uri)
    sites = tuple(sorted({a.site for a in found.values()} | {h.site for h in machines.values()}))
    return Topology("discovered", sites, found, machines, {}, {}, {}, {}, source_budget=10.0)


def _site(word: str) -> tuple[str, str]:
    match = re.match(r"([a-z][a-z0-9-]{0,28})=(.+)", word)
    return (match[1], match[2]) if match else ("here", word)


def _next(prefix: str, taken: Mapping[str, object], endings: Sequence[str]) -> str:
    return next(prefix + ending for ending in endings if prefix + ending not in taken)


def _portal(spec: ArraySpec) -> dict[str, object]:
    endpoints = spec.options.get("endpoints")
    if not isinstance(endpoints, list):
        return {}
    host = addresses.ssh(str(endpoints[0])).host
    return {"luns": {"portal": f"[{host}]:3260" if ":" in host else f"{host}:3260"}}


def _host(name: str, site: str, uri: str) -> HostSpec:
    kind, _, path = uri.partition(":")
    if kind == "embedded" and path:
        options = {"path": str(Path(path).absolute()), "cpus": 8, "memory": 32 << 30}
        return HostSpec(name, site, "embedded", None, {**DEFAULTS["embedded host"], **options})
    try:
        addresses.libvirt_uri(uri)
    except ValueError as error:
        raise BadInput(f"dr discover --host: {error}, or embedded:PATH; nothing was done") from None
    return HostSpec(name, site, "libvirt", None, {**DEFAULTS["libvirt host"], "uri": uri})


# -- what is written ------------------------------------------------------------------------------------------


def _document(stock: Stock, entries: str, *, whole: bool) -> str:
    if not whole:
        return f"# Written by dr discover: entries to add to topology {stock.topology.name}, each under the section that is there already.\n{entries}"
    topology = stock.topology
    lines = [
        "# Written by dr discover. What is to be filled in says so; `dr validate` lists what is still wrong.",
        "version: 1",
        "name: discovered                 # fill in, once and for ever: its identity",
        f"sites: {{{', '.join(f'{site}: {{}}' for site in topology.sites)}}}"
        + ("   # fill in: a second site" if len(topology.sites) < 2 else ""),
        "arrays:" if topology.arrays else "arrays: {}                      # fill in",
        *(f"  {name}: {_flow(spec)}" for name, spec in topology.arrays.items()),
        "hosts:" if topology.hosts else "hosts: {}                       # fill in",
        *(f"  {name}: {_flow(spec)}" for name, spec in topology.hosts.items()),
    ]
    return "\n".join(lines) + "\n" + entries


def _flow(spec: ArraySpec | HostSpec) -> str:
    """As one line of YAML: JSON is YAML. What is a default is left out."""
    kind = "array" if isinstance(spec, ArraySpec) else "host"
    defaults = DEFAULTS[f"{spec.driver} {kind}"]
    own = {key: value for key, value in spec.options.items() if defaults.get(key) != value}
    if isinstance(own.get("memory"), int):
        own["memory"] = f"{int(str(own['memory'])) >> 30}GiB"
    return json.dumps({"site": spec.site, "driver": spec.driver, **own})


def _to_fill_in(topology: Topology, text: str, *, whole: bool) -> list[str]:
    """What `dr validate` would still say."""
    from dr_provider.model.document import read
    from dr_provider.model.loader import parse
    from dr_provider.model.problems import Report

    new: Any = read(text, "the entries", Report()).data
    if not whole:
        base = json.loads(topology.text)
        for section, entries in new.items():
            base[section] = {**base.get(section, {}), **entries}
        new = base
    try:
        parse(json.dumps(new), source="the entries", base=Path.cwd())
    except TopologyInvalid as error:
        return [f"{problem.path}: {problem.message}" for problem in error.problems]
    return []


def _written(output: str | None, text: str) -> None:
    if output is None or not text:
        return
    if output == "-":
        sys.stdout.write(text)
        return
    try:
        with Path(output).open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise BadInput(f"{output}: it cannot be written ({error.strerror})") from error


# -- for people -----------------------------------------------------------------------------------------------


def _show(paper: Paper, document: Mapping[str, Any], stock: Stock, written: str | None, asked: str | None) -> None:
    lonely = stock.unprotected
    if lonely:
        paper.line("VMs that nothing protects:", "bold yellow")
        paper.table(
            ("VM", "host", "site", "", "CPUs", "memory", "disks"),
            [
                (vm.name, host.name, host.site, "runs" if vm.running else "off", str(vm.cpus), about(vm.memory),
                 ", ".join(f"{d.name} {about(d.size) if d.size else ''}".rstrip() for d in vm.disks) or "-")
                for host, vm in lonely[:_MANY]
            ],
        )  # fmt: skip
        if len(lonely) > _MANY:
            paper.line(f"and {len(lonely) - _MANY} more (--json lists them all)", indent=4)
    kept: dict[str, dict[str, None]] = {}
    each = stock.each
    for _, vm in each:
        if by := stock.protected_by(vm):
            kept.setdefault(by, {})[vm.name] = None
    for by, names in kept.items():
        paper.line(f"By {by}: {', '.join(sorted(names)[:_MANY])}{' ...' if len(names) > _MANY else ''}")
    others = [(array, v) for array, volumes in stock.volumes.items() for v in volumes if not v.topology]
    if others:
        paper.line("On the arrays beside what is dr's:", "bold")
        paper.table(
            ("array", "", "name", "takes"),
            [(array, v.kind, v.name, about(v.used)) for array, v in others[:_MANY]],
        )
        if len(others) > _MANY:
            paper.line(f"and {len(others) - _MANY} more (--json lists them all)", indent=4)
    if stock.silent:
        paper.line("What these have is not known:", "bold yellow")
        paper.bullets(stock.silent.values(), "yellow")
    count, hosts = len(each), len(stock.vms)
    found = f"{counted(count, 'VM')} on {counted(hosts, 'host')}"
    paper.line(
        f"{found}; {_protected(len(lonely), count, len(stock.silent))}.",
        "" if lonely or stock.silent or not count else "green",
    )
    if written is not None:
        paper.line(f"{written} is written.")
        paper.bullets((f"to fill in: {each}" for each in document["toFillIn"]), "yellow")
    elif asked:
        paper.line(f"{asked} is not written: nothing that was found is unprotected.")
    elif lonely:
        paper.line("dr discover -o FILE writes them as entries of a topology.")


def _protected(lonely: int, count: int, silent: int) -> str:
    if lonely:
        return f"{lonely} protected by nothing"
    if not count:
        return "no VM was found"
    return "all protected" + (", as far as what answers knows" if silent else "")


def add(app: typer.Typer) -> None:
    command(app, panel="Look")(discover)
