"""Jenkins: the stages of a declarative pipeline, read by their braces, and their `sh` steps."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from tests.engine.forges.forge import Forge

__all__ = ["Jenkins", "block"]


def block(text: str, begin: int) -> str:
    """What is between the first brace at or after `begin` and the one that closes it; texts in quotes are passed over."""
    start = text.index("{", begin)
    depth, at = 0, start
    while True:
        if text.startswith("'''", at):
            at = text.index("'''", at + 3) + 3
            continue
        if text[at] in "'\"":
            quote = text[at]
            at += 1
            while text[at] != quote:
                at += 2 if text[at] == "\\" else 1
        elif text.startswith("//", at):
            at = text.index("\n", at)
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        at += 1
        if depth == 0:
            return text[start + 1 : at - 1]


@dataclass
class Jenkins(Forge):
    name: str = "jenkins"
    file: str = "Jenkinsfile"

    def stages(self) -> dict[str, str]:
        text = self.text
        return {found[1]: block(text, found.start()) for found in re.finditer(r"stage\('([^']+)'\)", text)}

    def _run(self, event: Mapping[str, str]) -> bool:
        self.log, self.steps = "", []
        known = {
            "WORKSPACE": str(self.project.folder),
            "TASK": event.get("task", "apply"),
            "ANEW": "true" if event["event"] == "by hand" else "false",
            "PULUMI_STACK": "prod",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_BACKEND_URL": self.project.environment["PULUMI_BACKEND_URL"],
            "PULUMI_CONFIG_PASSPHRASE": "passphrase",
        }
        change = event["event"] == "pull_request"
        for name, body in self.stages().items():
            if not self._is_in(block(body, body.index("when")), known, change=change):
                continue
            self.steps.append(name)
            if " input " in body:
                if not self.approver:
                    return False
                known["DR_APPROVER"] = self.approver
                continue
            well = self._stage(body, known)
            if not well:
                return False
        return bool(self.steps)

    def _is_in(self, when: str, known: dict[str, str], *, change: bool) -> bool:
        if "changeRequest()" in when:
            return change
        assert "branch 'main'" in when
        wanted = re.search(r"params\.TASK == '(\w+)'", when)
        assert wanted is not None
        approval = "env.DR_APPROVAL == 'needed'" not in when or known.get("DR_APPROVAL") == "needed"
        return not change and wanted[1] == known["TASK"] and approval

    def _stage(self, body: str, known: dict[str, str]) -> bool:
        self._take_away()
        prefix = re.search(r'PATH = "\$\{env\.WORKSPACE\}/([^:]*):\$\{env\.PATH\}"', body)
        assert prefix is not None
        here = {**known, "PATH": f"{known['WORKSPACE']}/{prefix[1]}{os.pathsep}{self.environment['PATH']}"}
        well = self._deeds(block(body, body.index("steps {")), here)
        if "post {" in body:
            well = self._deeds(block(body, body.index("always {")), here) and well
        if (approval := self.project.folder / "dr-ci" / "approval").exists():
            known["DR_APPROVAL"] = approval.read_text().strip()
        return well

    def _deeds(self, steps: str, environment: Mapping[str, str]) -> bool:
        for found in re.finditer(r"\b(sh|stash name:|unstash) ?'((?:[^'\\]|\\.)*)'", steps):
            if found[1] == "unstash":
                shutil.copytree(self._kept(found[2]), self.project.folder / "dr-ci")
            elif found[1] == "stash name:":
                self._keep(found[2], "dr-ci")
            elif self.shell(found[2].replace("\\'", "'"), environment, "sh", "-x", "-e").returncode:
                return False
        comment = self.project.folder / "dr-ci" / "comment.md"
        if "publishChecks" in steps and comment.exists():
            shutil.copy(comment, self.folder / "comment.md")
        return True

    def _comment(self) -> str:
        return (self.folder / "comment.md").read_text()
