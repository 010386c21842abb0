"""Who let a run go: the forge's own variables, and who is said to have approved it. Pure, of the environment that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

__all__ = ["initiator"]

_LONGEST = 300


def initiator(environ: Mapping[str, str]) -> dict[str, Any]:
    """{"forge", "actor", "approver", "approverFrom", "run"}: which CI the run is part of (None: none), whose push or click began it there, who
    let it go, and the address of the CI's own run. A forge tells its jobs who started them and not who approved: so `approver` is DR_APPROVER,
    else DR_APPROVED_BY (which `dr ci apply` sets), and the actor only where none of them is set; `approverFrom` says which ("said" or "actor").

    https://docs.github.com/actions/reference/variables-reference, https://docs.gitlab.com/ci/variables/predefined_variables/,
    https://www.jenkins.io/doc/book/pipeline/jenkinsfile/#using-environment-variables
    """
    forge = actor = run = None
    if environ.get("GITHUB_RUN_ID") or environ.get("GITHUB_ACTOR"):
        forge = "github"
        # The triggering actor is who asked for this very run; the actor of a re-run is who asked for the first one.
        actor = environ.get("GITHUB_TRIGGERING_ACTOR") or environ.get("GITHUB_ACTOR")
        server, repository, number = (environ.get(f"GITHUB_{x}") for x in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
        run = f"{server}/{repository}/actions/runs/{number}" if server and repository and number else None
    elif environ.get("GITLAB_USER_LOGIN") or environ.get("CI_JOB_URL"):
        forge, actor, run = "gitlab", environ.get("GITLAB_USER_LOGIN"), environ.get("CI_JOB_URL")
    elif environ.get("BUILD_URL"):
        forge, actor, run = "jenkins", environ.get("BUILD_USER_ID"), environ.get("BUILD_URL")
    named, started = _short(environ.get("DR_APPROVER") or environ.get("DR_APPROVED_BY")), _short(actor)
    return {
        "forge": forge,
        "actor": started,
        "approver": named or started,
        "approverFrom": "said" if named else "actor" if started else None,
        "run": _address(run),
    }


def _short(text: str | None) -> str | None:
    return text.strip()[:_LONGEST] or None if text else None


def _address(text: str | None) -> str | None:
    """An address that a page may link to, without what is before an @ in it (a forge may be reached with a credential); None: it is none."""
    if not text:
        return None
    try:
        parts = urlsplit(text.strip())
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()[:_LONGEST]
