"""The `dr` command: its sub-commands, and the one place where errors become sentences and exit statuses."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dr_provider.cli import (
    alert,
    answer,
    apply,
    backup,
    ci,
    discover,
    doctor,
    drill,
    errors,
    guard,
    init,
    init_ci,
    look,
    move,
    plan,
    protect,
    rehearse,
    report,
    restore,
    runbook,
    safety,
    sim,
    verify,
    whatif,
)
from dr_provider.cli.common import (
    Common,
    FromOption,
    JsonOption,
    NameOption,
    TopologyOption,
    VerboseOption,
)

__all__ = ["app", "main"]


class Root(TyperGroup):
    """Keeps the promise that every end is a sentence and one of the statuses 0, 1 and 2."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in words
        try:
            status = super().main(
                words, prog_name, complete_var, standalone_mode=False, windows_expand_args=windows_expand_args, **extra
            )
        except Exception as error:  # noqa: BLE001  the last place before the user: no traceback may pass
            verbose = any(word in ("-v", "--verbose") for word in words)
            status = errors.report(error, as_json=as_json, verbose=verbose)
        # Typer ends with 130, and says nothing, after a Ctrl-C outside of what is done with care; the contract has a sentence and 1 for it.
        if status == 130:
            status = errors.report(KeyboardInterrupt(), as_json=as_json, verbose=False)
        code = status if isinstance(status, int) and status in (0, 2) else 1 if status else 0
        if standalone_mode:
            sys.exit(code)
        return code


app = typer.Typer(
    name="dr",
    cls=Root,
    help="Disaster recovery for virtual machines. Exit status: 0 well; 2 your files or words are wrong and nothing was done; 1 all else.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
    topology: TopologyOption = None,
    source: FromOption = None,
    name: NameOption = None,
    json_output: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    context.obj = Common(topology, source, name, json_output, verbose)
    if version:
        from dr_provider import __version__

        print(f'{{"version": "{__version__}"}}' if json_output else f"dr {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(2)


for _part in (
    init,
    discover,
    look,
    plan,
    report,
    runbook,
    whatif,
    rehearse,
    doctor,
    protect,
    backup,
    alert,
    drill,
    guard,
    verify,
    move,
    answer,
    restore,
    safety,
    apply,
    init_ci,
):
    _part.add(app)
app.add_typer(ci.app, rich_help_panel="GitOps")
app.add_typer(sim.app, rich_help_panel="Lab")


def main() -> None:
    """The console entry."""
    try:
        app(prog_name="dr")
    except KeyboardInterrupt as early:  # before there is a command to catch it
        sys.exit(errors.report(early, as_json="--json" in sys.argv, verbose=False))


if __name__ == "__main__":
    main()
