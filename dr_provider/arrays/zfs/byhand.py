"""A zfs array without dr: what its own programs (zfs, tgtadm or targetcli) are told to do a move by hand. Pure.

By hand a move runs on *clones* of a recovery point, `tank/dr/copies/byhand-VOLUME`, and never writes to a dataset of dr's: nothing is rolled back or destroyed, and dr, which leaves alone what
does not carry its properties and keeps every snapshot that a clone stands on, goes on from there when it can be run again. Datasets, files, IQNs and the words that offer a LUN are those of the driver
(`remote.datasets`, `remote.names`, `remote.tgt`, `remote.lio`).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dr_provider.arrays.zfs.remote import lio, tgt
from dr_provider.arrays.zfs.remote.names import iqn
from dr_provider.arrays.zfs.remote.points import POINT, SEAL
from dr_provider.model import addresses
from dr_provider.model.byhand import Block, ssh_line
from dr_provider.model.topology import ArraySpec

__all__ = ["SNAPSHOT", "HandLun", "HandZfs"]

SNAPSHOT = "byhand-1"
"""The snapshot that is taken by hand."""
_BACK = "byhand-back"
_BEFORE = "byhand-before"
_TARGETS_FROM = 1001
"""Target numbers of what is offered by hand begin here; the driver takes the lowest that are free."""


@dataclass(frozen=True)
class HandLun:
    """A LUN by its volume and name, as the array knows them."""

    volume: str
    lun: str


class HandZfs:
    """The commands for one array."""

    def __init__(self, spec: ArraySpec) -> None:
        self.name = spec.name
        self._options = spec.options
        self.root = f"{spec.options['pool']}/{spec.options['dataset']}"
        luns = spec.options["luns"]
        assert isinstance(luns, Mapping)
        self._service = str(luns.get("service") or "tgt")
        self._portal = addresses.portal(str(luns["portal"]))
        sudo = "sudo " if spec.options.get("sudo") else ""
        self._zfs, self._sudo = f"{sudo}zfs", sudo

    # -- names ----------------------------------------------------------------------------------------

    @property
    def enter(self) -> str:
        """The SSH command that leads to it."""
        endpoints = self._options["endpoints"]
        assert isinstance(endpoints, Sequence)
        return _ssh(str(endpoints[0]), self._options.get("ssh"))

    def target(self, lun: HandLun, *, by_hand: bool = True) -> str:
        """The LUN's address as a host is told it, without an account: by hand no password is asked for."""
        host, port = self._portal
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return f"iscsi://{where}/{self._iqn(lun, by_hand=by_hand)}/1"

    def clone(self, volume: str) -> str:
        return f"{self.root}/copies/byhand-{volume}"

    def _iqn(self, lun: HandLun, *, by_hand: bool) -> str:
        return iqn(self.name, f"byhand-{lun.volume}" if by_hand else lun.volume, lun.lun)

    # -- blocks ---------------------------------------------------------------------------------------

    def functions(self) -> Block:
        """What the other blocks begin with."""
        pool = self.root.partition("/")[0]
        return self._block(
            f"The pool must be there (`{self._sudo}zpool import {pool}` where it is not). Then words for the shell that the commands below use: `dataset VOLUME` prints the dataset that holds the volume, `points VOLUME` its sealed recovery points, oldest first, "
            "and `aside NAME` gives what an earlier move by hand has left another name, so that it is not taken for what is made now.",
            f"{self._sudo}zpool list {pool}",
            f"dataset() {{ {self._zfs} list -H -t filesystem -o name -r {self.root}/vols | {_newest('$1')}; }}",
            f'points() {{ {self._zfs} list -H -t snapshot -o name,{POINT},{SEAL} -r "$(dataset "$1")" | awk \'$2 != "-" && $3 != "-" {{sub(/.*@/, "", $1); print $1}}\' | sort -V; }}',
            f'aside() {{ {self._zfs} list -H -o name "$1" >/dev/null 2>&1 && {self._zfs} rename "$1" "$1-$(date +%Y%m%d%H%M%S)"; }}',
        )

    def choose_point(self, volumes: Sequence[str]) -> Block:
        names = " ".join(volumes)
        return self._block(
            "The newest recovery point that every volume has. To take an older one (the newest may hold what destroyed the data), give POINT its name.",
            f"for v in {names}; do points $v; done | sort -V | uniq -c        # a point is whole where the number is {len(volumes)}",
            f"POINT=$(for v in {names}; do points $v; done | sort | uniq -c | awk '$1 == {len(volumes)} {{print $2}}' | sort -V | tail -n 1)",
            f"# After H3, where every volume was sent: POINT={SNAPSHOT}",
            'echo "$POINT"',
        )

    def open(self, volumes: Sequence[str]) -> Block:
        """Clones of the point, mounted and writable."""
        return self._block(
            "Clones of that point, writable. Nothing of dr's is changed. (zfs-fuse mounts them by itself: that they are mounted already is well.)",
            f'for v in {" ".join(volumes)}; do aside {self.clone("$v")}; {self._zfs} clone -o canmount=noauto -o readonly=off "$(dataset $v)@$POINT" {self.clone("$v")}; {self._zfs} mount {self.clone("$v")}; done',
            f"{self._zfs} list -o name,origin,mounted -r {self.root}/copies        # the origin of each byhand-VOLUME must end in @$POINT",
        )

    def offer(self, luns: Sequence[HandLun], initiators: Mapping[HandLun, str]) -> Block:
        """Offer each LUN of the clones to the host that its VM will run on."""
        lines = [] if self._service == "lio" else [f"{self._sudo}systemctl start tgt", self._next_target()]
        for lun in luns:
            name, path = self._iqn(lun, by_hand=True), f"$LUNS/{lun.lun}.img"
            lines.append(f"LUNS=$({self._zfs} get -H -o value mountpoint {self.clone(lun.volume)})/luns")
            if self._service == "lio":
                host, port = self._portal
                said = lio.offering(name, path, initiators[lun], (host, str(port)), None)
                lines += [f"{self._sudo}targetcli <<END", *said, "exit", "END"]
            else:
                # A number that is in use is another plan's target: binding it to this host would give that plan's disk away.
                lines.append("tid=$(next_target)")
                for step in tgt.offering(0, name, path, initiators[lun], None):
                    lines.append(f"{self._sudo}{_joined(_numbered(tgt.command(*step)))}")
        show = "targetcli ls /iscsi" if self._service == "lio" else shlex.join(tgt.command("show", "target"))
        return self._block(
            "Each LUN of the clones, offered to the host that is to run its VM; by hand without a CHAP password.",
            *lines,
            f"{self._sudo}{show}",
        )

    def _next_target(self) -> str:
        show = shlex.join(tgt.command("show", "target"))
        numbers = f"{self._sudo}{show} | sed -n 's/^Target \\([0-9]*\\): .*/\\1/p'"
        return (
            f"next_target() {{ echo $(( $({{ echo {_TARGETS_FROM - 1}; {numbers}; }} | sort -n | tail -n 1) + 1 )); }}"
        )

    def take_away(self, luns: Iterable[HandLun], *, by_hand: bool = False) -> Block:
        """End the offer of these LUNs: nobody can write to them then."""
        lines: list[str] = []
        for lun in luns:
            name = self._iqn(lun, by_hand=by_hand)
            if self._service == "lio":
                lines += [f"{self._sudo}targetcli <<END", *lio.taking_away(name), "exit", "END"]
            else:
                show = shlex.join(tgt.command("show", "target"))
                gone = " ".join([*tgt.command(*tgt.taking_away(0))[:-1], "$tid"])
                tids = f"$({self._sudo}{show} | sed -n 's/^Target \\([0-9]*\\): {name}$/\\1/p')"
                lines.append(f"for tid in {tids}; do {self._sudo}{gone}; done")
        check = "targetcli ls /iscsi" if self._service == "lio" else shlex.join(tgt.command("show", "target"))
        return self._block(
            "Take the LUNs away from their hosts: from then on nobody can write to them. The last command must show none of them.",
            *lines,
            f"{self._sudo}{check} | grep iqn.2026-11.io.dr",
        )

    def snapshot(self, volumes: Sequence[str]) -> Block:
        return self._block(
            "A snapshot of what the VMs have left, now that they are off and their LUNs are gone. Not before: what is written after it does not come along.",
            f'for v in {" ".join(volumes)}; do aside "$(dataset $v)@{SNAPSHOT}"; {self._zfs} snapshot "$(dataset $v)@{SNAPSHOT}"; done',
        )

    def send(self, volumes: Sequence[str], peer: HandZfs) -> Block:
        """The increment since what the peer has, to the peer's copy. The source is asked for nothing but reading."""
        to = peer._reached()
        return self._block(
            f"Send it to {peer.name}, as an increment of the newest snapshot that stands there. A line that fails has changed nothing: the last recovery point of {peer.name} then counts.",
            f'there() {{ {_ssh_n(to)} "{peer._zfs} list -H -t filesystem -o name -r {peer.root}/vols" | {_newest("$1")}; }}',
            f"base() {{ {_ssh_n(to)} \"{peer._zfs} list -H -t snapshot -o name -r $(there $1)\" | sed 's/.*@//' | tail -n 1; }}",
            f'for v in {" ".join(volumes)}; do {self._zfs} send -i "@$(base $v)" "$(dataset $v)@{SNAPSHOT}" | {to} "{peer._zfs} receive $(there $v)"; done',
        )

    def send_back(self, volumes: Sequence[str], peer: HandZfs) -> Block:
        """What ran by hand here, as clones of the same point there."""
        to = peer._reached()
        names = " ".join(volumes)
        return self._block(
            f"What was written here goes to {peer.name}, as a clone of the same point there. Where {peer.name} has lost that point, leave `-i ...` out: everything is sent then.",
            f"for v in {names}; do {self._zfs} snapshot {self.clone('$v')}@{_BACK}; done",
            f'for v in {names}; do {self._zfs} send -i "$({self._zfs} get -H -o value origin {self.clone("$v")})" {self.clone("$v")}@{_BACK} | {to} "{peer._zfs} receive {peer.clone("$v")}"; done',
            f'{_ssh_n(to)} "{peer._zfs} list -o name,origin,mounted -r {peer.root}/copies"        # each must be there, and mounted',
        )

    def set_aside(self, volumes: Sequence[str]) -> Block:
        """Where dr's volumes are those of before the disaster: open, and what they hold kept."""
        return self._block(
            "dr's own volumes, as they were before the move by hand: mounted, and a snapshot of what they hold, which is about to be overwritten.",
            f'for v in {" ".join(volumes)}; do {self._zfs} mount "$(dataset $v)"; aside "$(dataset $v)@{_BEFORE}"; {self._zfs} snapshot "$(dataset $v)@{_BEFORE}"; done',
            f"{self._zfs} list -t snapshot -o name,used -r {self.root}/vols | grep {_BEFORE}",
        )

    def copy_into(self, luns: Sequence[HandLun]) -> Block:
        """What was written by hand, into the volumes that dr has made writable again."""
        return self._block(
            "With the VMs off: put each disk as it was left by hand in the place of the one that dr serves.",
            *(
                f'{self._sudo}cp --sparse=always "$({self._zfs} get -H -o value mountpoint {self.clone(lun.volume)})/luns/{lun.lun}.img" '
                f'"$({self._zfs} get -H -o value mountpoint "$(dataset {lun.volume})")/luns/{lun.lun}.img"'
                for lun in luns
            ),
        )

    def remove(self, volumes: Sequence[str]) -> Block:
        return self._block(
            "When nobody needs what was written by hand any more. Snapshots that were taken by hand are no one's to dr: it would keep their room for ever. The list must show no clone in the end (one may be busy at first; see `zfs list -t all` for what `aside` has renamed).",
            f"for v in {' '.join(volumes)}; do for n in 1 2 3 4 5; do {self._zfs} destroy -r {self.clone('$v')} && break; sleep 2; done; done",
            # Of earlier generations, too: dr keeps one for as long as a clone stands on it.
            f"{self._zfs} list -H -t snapshot -o name -r {self.root}/vols | grep -E '/({'|'.join(volumes)})(\\.R[0-9]+)?@({SNAPSHOT}|{_BEFORE})$' | xargs -r -n 1 {self._zfs} destroy",
            f"{self._zfs} list -o name,origin -r {self.root}/copies",
        )

    # -- parts ----------------------------------------------------------------------------------------

    def _block(self, says: str, *lines: str) -> Block:
        return Block(f"array {self.name}", lines, says, self.enter)

    def _reached(self) -> str:
        """How another array gets here: the address for replication, with that array's own keys."""
        endpoints = self._options["endpoints"]
        assert isinstance(endpoints, Sequence)
        return _ssh(str(self._options.get("replication") or endpoints[0]), None)


def _newest(name: str) -> str:
    """Of several datasets of a volume the one of the highest generation is the volume."""
    return f'grep -E "/{name}(\\.R[0-9]+)?\\$" | sort -V | tail -n 1'


def _numbered(words: Sequence[str]) -> list[str]:
    """With the number that the shell has found."""
    return ["$tid" if before == "--tid" else word for before, word in zip(["", *words], words, strict=False)]


def _joined(words: Sequence[str]) -> str:
    """A command line in which paths below $LUNS, and the target's number, are still to be filled in."""
    return " ".join(f'"{word}"' if word.startswith(("$LUNS/", "$tid")) else shlex.quote(word) for word in words)


def _ssh(address: str, keys: object) -> str:
    """`ssh` to an address of the topology."""
    at = addresses.ssh(address)
    return ssh_line(at.host, at.user, at.port, keys)


def _ssh_n(command: str) -> str:
    """The same for a question: it must not swallow what is pasted after it."""
    return f"ssh -n{command.removeprefix('ssh')}"
