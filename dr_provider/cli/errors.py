"""From an exception to a sentence and an exit status. No traceback reaches a user unless they asked for one."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import typer

from dr_provider.cli.paper import Paper
from dr_provider.model.errors import BadInput, DrError, MoveFailed, Refused, TopologyInvalid
from dr_provider.model.plain import json_text, plain

__all__ = ["document_of", "report", "status_of"]

FAULT = "this is a fault in dr; run with -v and report it"


def status_of(error: BaseException) -> int:
    """0 well, 2 the user's files or words are wrong, 1 all else (SPEC.md)."""
    if isinstance(error, DrError | typer.TyperException):
        return 2 if getattr(error, "exit_status", getattr(error, "exit_code", 1)) == 2 else 1
    return 1


def sentence_of(error: BaseException) -> str:
    if isinstance(error, DrError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or type(error).__name__}"
    if isinstance(error, typer.TyperException):
        return _usage(error)
    if isinstance(error, typer.Abort):
        return "stopped; nothing was changed"
    if isinstance(error, KeyboardInterrupt):
        return "stopped by Ctrl-C while nothing was under way; dr status says what stands"
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}{': ' + first if first else ''}: {FAULT}"


def _usage(error: typer.TyperException) -> str:
    """A usage error in one sentence, with the command whose help says more."""
    said = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    where = getattr(context, "command_path", "dr")
    return f"{where}: {said[:1].lower()}{said[1:]}; nothing was done. Try: {where} --help"


def document_of(error: BaseException) -> dict[str, Any]:
    """The error as JSON: always `error`; `problems` of a topology, `reasons` of a refusal."""
    document: dict[str, Any] = {"error": sentence_of(error), "kind": type(error).__name__}
    if isinstance(error, TopologyInvalid):
        document["problems"] = [
            {"path": p.path, "message": p.message, "line": getattr(p, "line", None)} for p in error.problems
        ]
    if isinstance(error, Refused | MoveFailed):
        document["reasons"] = list(error.reasons)
    if isinstance(error, BadInput):
        document["kind"] = "BadInput"
    return document


def report(error: BaseException, *, as_json: bool, verbose: bool) -> int:
    """Tell the user, and give the exit status."""
    if as_json:
        print(json_text(document_of(error)), flush=True)
    sentence = sentence_of(error)
    _tell(sentence if sentence.startswith(("dr ", "dr:")) else f"dr: {sentence}")
    if verbose:
        print(plain("".join(traceback.format_exception(error))), file=sys.stderr, end="", flush=True)
    return status_of(error)


def _tell(text: str) -> None:
    """On stderr; wrapped between words on a terminal, and as it is in a pipe."""
    if not sys.stderr.isatty():
        print(plain(text), file=sys.stderr, flush=True)
        return
    paper = Paper(sys.stderr)
    for line in text.splitlines():
        paper.line(line.lstrip(), indent=len(line) - len(line.lstrip()))
