"""What would happen, as Markdown for a pull request: what takes data away cannot be overlooked, and what others wrote stays text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dr_provider.cli.paper import span
from dr_provider.cli.preview import Change, Preview
from dr_provider.cli.templates import environment
from dr_provider.model.plain import plain
from dr_provider.model.problems import listed
from dr_provider.model.units import counted

__all__ = ["LIMIT", "comment"]

LIMIT = 60_000
"""Characters of a comment; GitHub takes 65,536."""

_ACTIONS = 300
"""Actions that are listed; the rest are counted."""

_TITLES = {"none": "nothing to do", "create": "is made", "repair": "a repair", "planned": "a planned move", "disaster": "a move after a disaster"}  # fmt: skip


def comment(found: Preview, *, stack: str = "", footer: str = "") -> str:
    """The Markdown. `stack`: its name, in the heading; `footer`: a last line of ours, as Markdown."""
    text = _render(found, stack, footer, _ACTIONS)
    return text if len(text) <= LIMIT else _shortened(_render(found, stack, footer, 20))


def _shortened(text: str) -> str:
    if len(text) <= LIMIT:
        return text
    end = "\n\n**The rest is left out: it is too long for a comment. `dr plan --preview FILE` shows all of it.**\n"
    return text[: LIMIT - len(end)].rpartition("\n")[0] + end


def _render(found: Preview, stack: str, footer: str, most: int) -> str:
    templates = environment()
    templates.filters |= {"md": _inline, "fence": _fence, "counted": counted}
    mark, title = _heading(found)
    return templates.get_template("ci/comment.md.j2").render(
        stack=stack,
        mark=mark,
        title=f"{f'Stack `{stack}`: ' if stack else ''}{title}",
        errors=found.errors,
        data=[change.sentence for change in found.data],
        plans=[_plan(found, name, document, most) for name, document in found.plans.items()],
        changes=_changes(found.changes),
        remarks=found.remarks,
        footer=footer,
    )


def _heading(found: Preview) -> tuple[str, str]:
    """The worst first: a mark, and the whole in a few words."""
    kinds = {document["kind"] for document in found.plans.values()}
    if found.errors:
        return "🔴", "the preview failed"
    if any(change.op == "delete" and change.destroys for change in found.data):
        return "🔴", "DATA WOULD BE DESTROYED"
    if found.data:
        return "🔴", "data would be deleted or replaced"
    if found.refused:
        return "🔴", "refused: `up` would end red"
    if found.red:
        return "🔴", "`up` would end red"
    if "disaster" in kinds:
        return "🟠", "failover after a disaster"
    if "planned" in kinds:
        return "🟠", "planned failover"
    if found.changes or any(document["actions"] for document in found.plans.values()):
        return "🟢", "changes, and no move"
    return "🟢", "nothing to do"


def _plan(found: Preview, name: str, document: Mapping[str, Any], most: int) -> dict[str, Any]:
    refused, kind = document["refused"], document["kind"]
    come = f"`{document['from']}` → " if document.get("from") else "to "
    way = f", {come}`{document['to']}`" if document.get("to") else ""
    actions = [action["sentence"] for action in document["actions"]]
    shown = [f"{number:>3}. {sentence}" for number, sentence in enumerate(actions[:most], 1)]
    more = [f"     and {len(actions) - most} more"] if len(actions) > most else []
    return {
        "name": name,
        "mark": "🔴" if refused or name in found.red else "🟠" if kind in ("planned", "disaster") else "🟢",
        "title": f"{'REFUSED' if refused else _TITLES.get(kind, kind)}{way}",
        "refused": [_copyable(reason) for reason in refused],
        "facts": _facts(document) if kind in ("planned", "disaster") and not refused else [],
        "remarks": [*(document.get("changes") or ()), *document["warnings"], *document["degraded"], *document["notes"]],
        "afterwards": document.get("afterwards") or [],
        "actions": actions,
        "listing": "\n".join([*shown, *more]),
    }


def _facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    seconds = document["loss"]["seconds"]
    loss = document["loss"]["statement"] + (f" ({span(seconds)})" if seconds else "")
    time = document["estimateSeconds"]
    return [
        ("loss", loss),
        ("expected time", "not known yet (no earlier run to go by)" if time is None else f"about {span(time)}"),
        ("recovery point", document["point"] or "a final one, taken in this move"),
    ]


def _copyable(reason: str) -> list[str]:
    """A refusal in turns: text, a line to copy, text. Two spaces stand around such a line."""
    return [part.strip(" ,") if number % 2 == 0 else part.strip() for number, part in enumerate(re.split(r" {2,}", reason)) if part.strip(" ,.")]  # fmt: skip


def _changes(changes: tuple[Change, ...]) -> list[tuple[str, str, str]]:
    """By change and kind, what loses something first."""
    order = ("delete", "replace", "create", "update")
    groups: dict[tuple[str, str], list[str]] = {}
    for change in sorted(
        filter(_worth_naming, changes), key=lambda each: order.index(each.op) if each.op in order else len(order)
    ):
        groups.setdefault((change.op, change.kind), []).append(change.name)
    return [(op, kind, listed(names)) for (op, kind), names in groups.items()]


def _worth_naming(change: Change) -> bool:
    """A plan that changes has a part of its own, and its readiness follows it."""
    return change.op != "update" or change.kind not in ("DrPlan", "Readiness")


def _inline(text: object) -> str:
    """Text that stays text: no mark-up, no HTML, no mention, no row of its own."""
    flat = " ".join(plain(str(text)).split())
    marked = re.sub(r"([\\`*_{}\[\]#|~])", r"\\\1", flat)
    # A mention calls people; the empty comment parts the sign from the name and is not seen.
    return marked.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "@<!-- -->")


def _fence(text: object, before: str = "") -> str:
    """A block of code that what is in it cannot end."""
    body = plain(str(text)).strip("\n")
    ticks = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`+", body)), 3)
    return "\n".join(f"{before}{line}" for line in (f"{ticks}text", *body.splitlines(), ticks))
