"""The demo on a terminal: a table that grows by a row a step, and a line of progress below it. Plain text where there is no terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from demo.facts import Account, Fact, Step

__all__ = ["Screen", "closing", "heading", "opening", "row"]

_WIDEST, _NARROWEST = 100, 80
_QUIET = 10.0
"""Without a terminal, a step that takes longer than so many seconds says that it goes on."""


def _table(width: int) -> Table:
    """The columns, the same for each row, so that rows printed one by one make one table."""
    table = Table(box=None, show_header=False, pad_edge=False, width=width, padding=(0, 2, 0, 0))
    left = 34 if width >= 96 else 27
    table.add_column(width=2, justify="right", style="dim")
    table.add_column(width=left)
    table.add_column(width=6, justify="right")
    table.add_column(ratio=1)
    return table


def opening(account: Account, width: int) -> RenderableType:
    """Title and what will happen."""
    text = Text()
    text.append("Disaster recovery, declared as code: ", style="bold")
    text.append(f"six VMs on two sites; {account.title}.")
    command = "pulumi up" if account.way == "pulumi" else "dr"
    text.append(f"\nReal `{command}`, {account.about}, every fact measured.", style="dim")
    text.truncate(width * 3)
    return text


def heading(width: int) -> RenderableType:
    table = _table(width)
    table.show_header = True
    for column, name in zip(table.columns, ("#", "step", "sec", "measured"), strict=True):
        column.header = Text(name, style="bold")
    return Group(Text(), table, Rule(characters="─", style="dim"))


def row(number: int, step: Step, width: int, *, plain: bool = False) -> RenderableType:
    """One step: its title and command on the left, its facts on the right."""
    left = Text(step.title, style="bold")
    if step.command:
        for command in step.command.split("; "):
            left.append(f"\n$ {command}", style="not bold cyan")
    table = _table(width)
    seconds = f"{step.seconds:.1f}" if step.seconds is not None else ""
    right = Table.grid(padding=(0, 1))
    right.add_column(width=4 if plain else 1)
    right.add_column(ratio=1)
    for fact in step.facts:
        right.add_row(*_fact(fact, plain=plain))
    for line in step.says:
        right.add_row(Text(">" if plain else "›", style="cyan"), Text(line, style="italic"))
    table.add_row(str(number), left, seconds, right)
    return Group(table, Text())


def _fact(fact: Fact, *, plain: bool) -> tuple[Text, Text]:
    if fact.true:
        return Text("ok" if plain else "✓", style="green"), Text(fact.sentence)
    return Text("NO" if plain else "✗", style="bold red"), Text(str(fact), style="bold red")


def closing(account: Account, width: int) -> RenderableType:
    """The numbers that people ask for first, and the verdict with each fact that is not true."""
    numbers = Table.grid(padding=(0, 2))
    numbers.add_column(style="dim")
    numbers.add_column(style="bold")
    for name, value in account.numbers.items():
        numbers.add_row(name, value)
    numbers.add_row("the whole scenario", f"{account.seconds:.0f} s")
    style = "bold green" if account.well else "bold red"
    wrong = [
        Text(f"  step {account.steps.index(step) + 1}, {step.title}: {fact}", style="red")
        for step, fact in account.false
    ]
    return Group(numbers, Text(), Text(account.verdict(), style=style), *wrong)


class Screen:
    """Prints the demo as it goes on; `tell` takes lines from what is running, from any thread."""

    def __init__(self, stream: TextIO = sys.stdout, width: int = _WIDEST) -> None:
        terminal = stream.isatty()
        columns = Console(file=stream).width if terminal else width
        self.width = max(_NARROWEST, min(_WIDEST, columns - 1 if terminal else columns))
        self.plain = not (stream.encoding or "").lower().startswith("utf")
        # Without a terminal the width is ours, whatever the surroundings say.
        self.console = Console(
            file=stream, width=None if terminal else self.width, highlight=False, emoji=False, markup=False
        )
        self._line = ""
        self._lock = threading.Lock()

    def print(self, part: RenderableType) -> None:
        """Print without blanks at the ends of lines, which would wrap on a narrower terminal."""
        if self.console.is_terminal:
            self.console.print(part)
            return
        with self.console.capture() as capture:
            self.console.print(part)
        text = "\n".join(line.rstrip() for line in capture.get().splitlines())
        print(text, file=self.console.file, flush=True)

    def tell(self, line: str) -> None:
        with self._lock:
            self._line = line

    @contextmanager
    def during(self, step: Step) -> Iterator[None]:
        """Show that the step is under way, for how long already, and what it said last."""
        started, done = time.monotonic(), threading.Event()
        self.tell("")
        if not self.console.is_terminal:
            watcher = threading.Thread(target=self._murmur, args=(step, started, done), daemon=True)
            watcher.start()
            try:
                yield
            finally:
                done.set()
                watcher.join()
            return
        spinner = Spinner("dots", style="cyan")
        with Live(
            console=self.console,
            transient=True,
            refresh_per_second=8,
            get_renderable=lambda: self._under_way(spinner, step, started),
        ):
            yield

    def _under_way(self, spinner: Spinner, step: Step, started: float) -> RenderableType:
        with self._lock:
            line = self._line
        text = Text.assemble(f" {step.title} ", (f"{time.monotonic() - started:.0f} s  ", "bold"), (line, "dim"))
        text.truncate(self.width - 3, overflow="ellipsis")
        text.no_wrap = True
        spinner.update(text=text)
        return spinner

    def _murmur(self, step: Step, started: float, done: threading.Event) -> None:
        while not done.wait(_QUIET):
            print(f"demo: {step.title}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
