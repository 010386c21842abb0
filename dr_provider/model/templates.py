"""Users' templates: Jinja2 in a sandbox, where a name that is not there is an error and every error says file and line."""

from __future__ import annotations

import json
import shlex
import traceback
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from dr_provider.model.errors import BadInput
from dr_provider.model.problems import did_you_mean

__all__ = ["TemplateFault", "faults", "render"]


class TemplateFault(BadInput):
    """A template that cannot be read or rendered. `line` counts from 1 within it; `reason` is the sentence without place."""

    def __init__(self, source: str, line: int, reason: str) -> None:
        self.line, self.reason = line, reason
        super().__init__(f"{source}, line {line}: {reason}")


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    # No loader: a template cannot include a file. Text for programs is not HTML, so nothing is escaped unasked.
    made = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    made.filters["quote"] = lambda value: shlex.quote(str(value))
    # Jinja's own escapes <, >, & and ' for HTML pages.
    made.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    for name in ("lipsum", "cycler", "joiner"):
        del made.globals[name]
    return made


def render(text: str, data: Mapping[str, Any], source: str) -> str:
    """The text with `data` put in. Raises TemplateFault naming `source`, the line in it, and what is wrong."""
    environment = _environment()
    try:
        code = environment.compile(text, filename=source)
        template = environment.template_class.from_code(environment, code, environment.make_globals(None))
        return template.render(data)
    except TemplateSyntaxError as error:
        raise TemplateFault(source, error.lineno, f"this is no template: {error.message}") from error
    except (
        TemplateError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ) as error:
        lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == source]
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise TemplateFault(source, (lines or [1])[-1] or 1, reason) from error


def faults(text: str, names: Mapping[str, Any], source: str) -> Iterator[TemplateFault]:
    """What can be known to be wrong without rendering: syntax, filters that there are not, and names, in every branch, that `names` does not have."""
    environment = _environment()
    try:
        tree = environment.parse(text, filename=source)
        environment.compile(text, filename=source)
    except TemplateSyntaxError as error:
        yield TemplateFault(source, error.lineno, f"this is no template: {error.message}")
        return
    for name in sorted(meta.find_undeclared_variables(tree) - set(names)):
        uses = [node.lineno for node in tree.find_all(nodes.Name) if node.name == name]
        yield TemplateFault(source, min(uses, default=1), f"there is no {name}{did_you_mean(name, names)}")
