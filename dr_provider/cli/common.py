"""What all commands share: the options that each of them takes, the session they open, and how they are registered.

The common options are accepted before and after the sub-command: the root stores what it was given, and a command's own value wins.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dr_provider.cli.paper import Paper
from dr_provider.model.errors import BadInput, Stopped
from dr_provider.model.plain import json_text, plain

if TYPE_CHECKING:
    from dr_provider.model.topology import Topology
    from dr_provider.reconcile.here import Here
    from dr_provider.reconcile.world import World

__all__ = [
    "COMMON",
    "Common",
    "FromOption",
    "JsonOption",
    "NameOption",
    "Session",
    "TopologyOption",
    "VerboseOption",
    "command",
    "common_of",
]

_PANEL = "Every command takes these, here or before its name"


@dataclass(frozen=True)
class Common:
    """The common options as given; None or False: not given."""

    topology: str | None = None
    source: str | None = None
    name: str | None = None
    json_output: bool = False
    verbose: bool = False

    def over(self, outer: Common) -> Common:
        """These, and where they say nothing the outer ones."""
        return Common(**{f.name: getattr(self, f.name) or getattr(outer, f.name) for f in fields(self)})


TopologyOption = Annotated[
    str | None,
    typer.Option(
        "--topology",
        metavar="FILE",
        help="The topology (else DR_TOPOLOGY, else the selected stack's).",
        rich_help_panel=_PANEL,
    ),
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="ADDRESS",
        help="Use the topology stored on an array, such as embedded:PATH.",
        rich_help_panel=_PANEL,
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="TOPOLOGY",
        help="Which one, if that array serves several topologies.",
        rich_help_panel=_PANEL,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout; all else on stderr.", rich_help_panel=_PANEL)]
VerboseOption = Annotated[bool, typer.Option("-v", "--verbose", help="Say more on stderr.", rich_help_panel=_PANEL)]

COMMON: dict[str, Any] = {
    "topology": TopologyOption,
    "source": FromOption,
    "name": NameOption,
    "json_output": JsonOption,
    "verbose": VerboseOption,
}
"""By the name of the parameter, which no command may use for one of its own."""


class Session:
    """One run of a command: its options, its topology and world (opened when first asked for), and where it writes."""

    def __init__(self, options: Common) -> None:
        self.options = options
        self.json = options.json_output
        self.verbose = options.verbose
        self.out = Paper(sys.stdout)
        self.err = Paper(sys.stderr)
        self._topology: Topology | None = None
        self._worlds: list[World] = []

    def progress(self, line: str) -> None:
        """One line an action; never on stdout."""
        if self.err.terminal:
            self.err.line(line)
        else:
            print(plain(line), file=sys.stderr, flush=True)

    def topology(self) -> Topology:
        """The topology, once. With --from and --topology the stored one counts, and what differs is listed. Raises BadInput."""
        if self._topology is None:
            from dr_provider.cli import sources

            source, file = self.options.source, self.options.topology
            if self.options.name is not None and source is None:
                raise BadInput(
                    f"--name {self.options.name} says which topology of an array is meant, and goes with --from ADDRESS; nothing was done"
                )
            if source is None:
                self._topology = sources.load_file(sources.file_of(file))
            else:
                self._topology = sources.stored_topology(source, self.options.name)
                if file is not None:
                    self._list_differences(sources.load_file(sources.file_of(file)), self._topology, file)
        return self._topology

    def _list_differences(self, ours: Topology, stored: Topology, file: str) -> None:
        from dr_provider.model.changes import describe_changes

        changes = describe_changes(ours, stored)
        if changes:
            self.progress(f"the stored topology counts; it differs from {file}:")
        for change in changes:
            self.progress(f"  {change}")

    def world(self) -> World:
        """A world on the topology; closed at the end of the command."""
        topology = self.topology()
        from dr_provider.reconcile.world import open_world

        world = open_world(topology, progress=self.progress)
        self._worlds.append(world)
        return world

    def here(self) -> Here:
        """What this machine knows: credentials, the state backend in use, the repository of the topology's file."""
        from dr_provider.cli import sources
        from dr_provider.cli.stack import backend_in_use, remote_of
        from dr_provider.reconcile.here import look_here

        file = None if self.options.source is not None else sources.file_of(self.options.topology)
        remote = remote_of(file.absolute().parent) if file is not None else None
        return look_here(self.topology(), backend=backend_in_use(Path.cwd()), repository=remote)

    def emit(self, document: Mapping[str, Any], show: Callable[[Paper], None]) -> None:
        """The command's result: the document as JSON, or what `show` writes for people."""
        if self.json:
            print(json_text(document), flush=True)
        else:
            show(self.out)

    def close(self) -> None:
        for world in self._worlds:
            world.close()


def common_of(context: typer.Context) -> Common:
    """A command's common options over those that stand before its name."""
    outer = context.find_root().obj
    given: dict[str, Any] = {key: context.params[key] for key in COMMON if context.params.get(key)}
    own = Common(**given)
    return own.over(outer) if isinstance(outer, Common) else own


def command(
    app: typer.Typer, name: str | None = None, *, panel: str | None = None
) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Register `function(session, ...)`, which returns the exit status (None: 0), with the common options beside its own."""

    def register(function: Callable[..., int | None]) -> Callable[..., int | None]:
        signature = inspect.signature(function, eval_str=True)

        @functools.wraps(function)
        def run(context: typer.Context, **values: Any) -> None:
            session = Session(common_of(context))
            try:
                status = function(session, **{key: value for key, value in values.items() if key not in COMMON})
            except KeyboardInterrupt:
                raise Stopped("stopped by Ctrl-C; nothing was changed") from None
            finally:
                session.close()
            if status:
                raise typer.Exit(status)

        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in list(signature.parameters.values())[1:]]
        _sign(run, [context, *own, *_options()])
        app.command(name, rich_help_panel=panel)(run)
        return function

    return register


def _options() -> list[inspect.Parameter]:
    flags = ("json_output", "verbose")
    return [
        inspect.Parameter(
            key, inspect.Parameter.KEYWORD_ONLY, annotation=COMMON[key], default=False if key in flags else None
        )
        for key in COMMON
    ]


def _sign(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> None:
    """Make Typer see these parameters."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
