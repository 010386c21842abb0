"""Carries out one callout on this machine: rendered, with its credentials, tried as often as it may be, and masked in all that is said of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping

from dr_provider.model import credentials
from dr_provider.model.callout_specs import CalloutSpec
from dr_provider.model.callouts import Move, Rendered, render_callout
from dr_provider.model.errors import BadInput, DrError, Stopped
from dr_provider.model.scratch import scratch
from dr_provider.model.topology import Topology
from dr_provider.model.units import format_duration
from dr_provider.reconcile.child import Ended, Mask, run_child
from dr_provider.reconcile.health import pause

__all__ = ["CalloutFailed", "carry_out", "environment_of", "lacking"]

_PASSED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
"""What a callout has of this process's environment. Credentials for arrays, and the stack's passphrase, are none of its business."""
_SAID = 200


class CalloutFailed(DrError):
    """It was tried as often as it may be. `output`: what it wrote in the last attempt."""

    def __init__(self, message: str, output: str) -> None:
        self.output = output
        super().__init__(message)


def carry_out(
    topology: Topology,
    plan: str,
    name: str,
    move: Move,
    *,
    stop: Callable[[], str | None],
    say: Callable[[str], None],
) -> tuple[str, str]:
    """Run it; how it went in a few words, and what it wrote. `say` is told of attempts that failed. Raises CalloutFailed, Stopped where it
    failed while `stop` was asked for, and BadInput where a template cannot be rendered or a credential is not to be had."""
    spec = topology.plans[plan].callouts[name]
    rendered = render_callout(topology, plan, name, move)
    secrets = _secrets(name, rendered)
    mask = Mask(secrets.values())
    given = {**environment_of(os.environ), **rendered.environment, **secrets}
    for attempt in range(spec.retries + 1):
        ended = _once(spec, rendered, given, mask)
        if ended.well:
            tried = f" at attempt {attempt + 1}" if attempt else ""
            return f"exit status 0{tried}{_last_words(ended.output)}", ended.output
        why = f"callout {name}: {_how(spec, ended)}{_last_words(ended.output)}"
        if (reason := stop()) is not None:
            # Neither tried again nor a failure: leading back would be stopped, too. The next run runs it again.
            raise Stopped(f"{reason}; {why}")
        if attempt < spec.retries:
            say(f"{why}; trying again ({attempt + 1} of {spec.retries})")
            pause(spec.retry_delay, stop)
    raise CalloutFailed(f"{why} (tried {spec.retries + 1} times)" if spec.retries else why, ended.output)


def environment_of(process: Mapping[str, str]) -> dict[str, str]:
    """What callouts get of a process's environment."""
    return {key: process[key] for key in _PASSED if key in process}


def lacking(topology: Topology, plan: str, name: str, move: Move) -> str:
    """Why the callout cannot be run on this machine, as far as can be seen without running it; empty: it can."""
    try:
        rendered = render_callout(topology, plan, name, move)
        _secrets(name, rendered)
    except BadInput as error:
        return str(error)
    program = rendered.command[0]
    if shutil.which(program, path={**environment_of(os.environ), **rendered.environment}.get("PATH")) is None:
        return f"callout {name}: there is no program {program} on this machine"
    return ""


def _secrets(name: str, rendered: Rendered) -> dict[str, str]:
    return {
        variable: credentials.resolve(reference, f"callout {name}, environment.{variable}")
        for variable, reference in rendered.credentials.items()
    }


def _once(spec: CalloutSpec, rendered: Rendered, environment: Mapping[str, str], mask: Mask) -> Ended:
    # A folder of its own: for its script, and for whatever it leaves where it stands.
    with scratch("callout") as folder:
        command = list(rendered.command)
        if rendered.script is not None:
            script = folder / "script"
            script.write_text(rendered.script, encoding="utf-8")
            script.chmod(0o700)
            command.append(str(script))
        return run_child(command, environment, folder, spec.timeout, mask)


def _how(spec: CalloutSpec, ended: Ended) -> str:
    match ended.how:
        case "exit":
            return f"it ended with exit status {ended.number}"
        case "signal":
            return f"it was ended by signal {ended.number}"
        case "timeout":
            return f"it had not ended after {format_duration(spec.timeout)}, and was ended with all that it had started"
        case "missing":
            return f"{spec.command[0]} cannot be started ({ended.why})"
        case "lost":
            return "it is not known how it ended: the process that watched over it is gone"


def _last_words(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if not lines:
        return ""
    last = lines[-1]
    return f"; it said: {last if len(last) <= _SAID else f'{last[: _SAID - 3]}...'}"
