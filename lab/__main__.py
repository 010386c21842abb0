"""`python -m lab`: make, look at, harm and remove a lab."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence

from lab import needs, show
from lab.layout import LabError
from lab.machines import POOL_SIZE, Lab

__all__ = ["main"]

_EXAMPLES = """\
examples:
  python -m lab packages                 what the lab needs from Debian, once
  python -m lab up                       both sites, in build/lab/lab
  python -m lab exec east-a -- zfs list
  python -m lab lose east                power failure of a site; `return east` brings it back
  python -m lab cut operator east        silence; sides are sites, machines, `operator`; `heal` ends all cuts
  python -m lab up --name second         another lab beside the first
  python -m lab down --name second
"""


def _up(args: argparse.Namespace) -> int:
    started = time.monotonic()
    lab = Lab.up(args.name, pool_size=args.pool_size * 1024**3)
    show.made(lab, time.monotonic() - started)
    return 0


def _down(args: argparse.Namespace) -> int:
    needs.check_root()
    gone = Lab.down(args.name)
    print(f"lab {args.name}: {'everything is removed' if gone else 'there is none, nothing to do'}")
    return 0


def _status(args: argparse.Namespace) -> int:
    facts = show.facts(Lab.find(args.name))
    if args.json:
        print(json.dumps(facts, indent=2))
    else:
        show.status(facts)
    return 0


def _exec(args: argparse.Namespace) -> int:
    if not args.words:
        raise LabError(f"nothing to run on {args.machine}: python -m lab exec {args.machine} -- COMMAND WORD...")
    words = Lab.find(args.name).machine(args.machine).enter(args.words)
    sys.stdout.flush()
    os.execvp(words[0], words)


def _fault(act: Callable[[Lab, argparse.Namespace], None], done: str) -> Callable[[argparse.Namespace], int]:
    """A command that changes the lab and says that it did."""

    def command(args: argparse.Namespace) -> int:
        needs.check_root()
        started = time.monotonic()
        act(Lab.find(args.name), args)
        print(f"lab {args.name}: {done.format(**vars(args))} ({time.monotonic() - started:.2f} s)")
        return 0

    return command


def _heal(lab: Lab, args: argparse.Namespace) -> None:
    if len(args.sides) not in (0, 2):
        raise LabError("heal takes the two sides of a cut, or nothing to end every cut")
    lab.heal(*args.sides)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab",
        description="Two real sites on this machine: ZFS arrays, iSCSI, libvirt hosts, QEMU guests. Debian only, as root.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, do: Callable[[argparse.Namespace], int], text: str, *places: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        for place in places:
            sub.add_argument(place, metavar=place.upper())
        if name != "packages":
            sub.add_argument("--name", default="lab", help="which lab; its folder is build/lab/NAME (default: lab)")
        sub.set_defaults(do=do)
        return sub

    command("packages", lambda _args: needs.install(), "install what the lab needs; does nothing when all is there")
    up = command("up", _up, "make the lab, or what is missing of it; switch on what is off")
    up.add_argument(
        "--pool-size",
        type=int,
        metavar="GIB",
        default=POOL_SIZE // 1024**3,
        help="of each array, sparse (default: %(default)s)",
    )
    command("down", _down, "remove the lab, whatever state it is in")
    command("status", _status, "what is on, what is cut").add_argument("--json", action="store_true")
    run = command("exec", _exec, "run a command inside a machine, as its root: MACHINE -- COMMAND WORD...", "machine")
    run.epilog = "After `--`: the command and its words, handed over as they are."
    command(
        "lose",
        _fault(lambda lab, a: lab.lose_site(a.site), "site {site} lost power"),
        "power failure of a site",
        "site",
    )
    command(
        "return",
        _fault(lambda lab, a: lab.return_site(a.site), "site {site} is up"),
        "power for a site, and its services",
        "site",
    )
    command(
        "kill",
        _fault(lambda lab, a: lab.machine(a.machine).kill(), "{machine} lost power"),
        "power failure of a machine",
        "machine",
    )
    command(
        "start",
        _fault(lambda lab, a: lab.machine(a.machine).start(), "{machine} is up"),
        "switch a machine on",
        "machine",
    )
    cut = _fault(lambda lab, a: lab.cut(a.one, a.other), "nothing passes between {one} and {other}")
    command("cut", cut, "silence between two of: sites, machines, `operator`", "one", "other")
    heal = command("heal", _fault(_heal, "healed"), "end a cut, or all of them")
    heal.add_argument("sides", nargs="*", metavar="ONE OTHER")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    # What follows `--` belongs to the command of `exec`, whatever it looks like.
    split = words.index("--") if "--" in words else len(words)
    args = _parser().parse_args(words[:split])
    args.words = words[split + 1 :]
    try:
        return int(args.do(args))
    except LabError as problem:
        print(f"lab: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; `up` again completes it, `down` removes it", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
