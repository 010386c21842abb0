"""A scenario on embedded sites within this process: no engine, and each `dr` without the start of a process."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from unittest import mock

from typer.testing import CliRunner

from demo import __main__ as program
from demo import embedded_stage
from demo.commands import CommandFailed, Commands, Said
from demo.facts import Account
from demo.scenario import Scenario
from dr_provider.cli.main import app

__all__ = ["InProcess", "played"]

_ONE_AT_A_TIME = threading.Lock()


class InProcess(Commands):
    """`dr` as a function call. Its stdout is the process's, so that only one can run at a time."""

    def _run(self, argv: tuple[str, ...], *, well: bool) -> Said:
        assert argv[0] == "dr", argv
        with _ONE_AT_A_TIME, mock.patch.dict(os.environ, {"DR_TOPOLOGY": self.env["DR_TOPOLOGY"]}):
            result = CliRunner().invoke(app, list(argv[1:]))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        said = Said(argv, result.exit_code, result.stdout, result.stderr)
        if well and said.status != 0:
            raise CommandFailed(f"{' '.join(argv)} ended with status {said.status}: {said.last_line()}")
        return said


class _Quick(embedded_stage.EmbeddedStage):
    """A silent site costs less; how much is for the tests of silence to measure."""

    def prepare(self) -> None:
        super().prepare()
        file = self.folder.topology
        text = file.read_text(encoding="utf-8")
        assert "sourceBudget: 1s " in text
        file.write_text(text.replace("sourceBudget: 1s ", "sourceBudget: 200ms "), encoding="utf-8")


def played(told: Scenario, base: Path) -> tuple[int, Account]:
    """Play it with `dr`; the exit status and the account."""
    accounts: list[Account] = []

    def keep(started: str, **words: str) -> Account:
        accounts.append(Account(started, **words))  # type: ignore[arg-type]
        return accounts[-1]

    with mock.patch.object(program, "Account", keep):
        status = program.run(told, _Quick(base, InProcess), "dr")
    return status, accounts[0]
