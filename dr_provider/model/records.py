"""What is written on arrays: owners, guards, intents, seals, epochs, claims, leases, pins; and the keys they stand under.

All keys of one topology start with `<topology>/`, so that several topologies can share an array. Everything here is
public format: golden tests load old records. Records are JSON of the dataclasses (`model.codec`); what is a `Record` carries a checksum
of its content beside its fields.

    <T>/pin                                 Pin: which array this is to this topology
    <T>/peers                               PeerPins: own ids and last seen serials of all the topology's arrays
    <T>/epoch/<plan>/<number>/<id>          Epoch: committed or aborted (a claim that is still open stands under claim/)
    <T>/claim/<plan>                        Claim: the move under way; gone when committed or aborted
    <T>/callouts/<plan>                     Callouts: which callouts and prompts of the newest move have ended, and which are still due
    <T>/answer/<plan>/<claim>/<prompt>      Answer: what a person said to a prompt of that move; gone when it was heard
    <T>/lease/<plan>/<n, 10 digits>         Lease: the highest n holds
    <T>/split/<plan>                        Split: two histories; only `dr resolve` removes it
    <T>/declared/<project>/<stack>/<plan>   Declared: the site that this stack last declared
    <T>/tombstone/<kind>/<name>             Tombstone: removed from the topology while another copy was silent
    <T>/owner/<kind>/<name>                 Owner: whose a volume, LUN, VM, mirror or plan is; stands from its first making to its destruction
    <T>/drill/<plan>/<drill>                DrillRecord: what a drill made on this array and the hosts of its site (model.drills)
    <T>/drill-end/<plan>/<drill>            DrillEnd: it was ended while a part of it did not answer; gone when nothing is left of it
    <T>/drill-result/<plan>/<id>            DrillResult: what a drill has shown; ids sort by time, the last 20 stay
    <T>/corrupt/<plan>/<point>/<site>       Corrupt: what `dr verify` found wrong with a recovery point at a site; such a part is not whole
    <T>/restore/<plan>/<vm>                 RestoreRecord: a VM whose disks are being set back to a recovery point; gone when it may start
    <T>/host/<host>                         MadeHost: the host was made once; one that is missing since is never made anew
    <T>/alive/<plan>/<site>                 Alive: the run lease of a site's guard; at other sites, at the witness, and as a promise at the site itself
    <T>/witness                             WitnessPin: which witness this topology asks; on the arrays and on the witness itself
    <T>/blob/topology                       the stored topology (StoredTopology); not part of an array's sweep
    <T>/blob/digests/<plan>                 Digests: the SHA-256 of the LUNs of recovery points that `dr verify` has read; not part of an array's sweep
    <T>/blob/drill/<plan>/<id>              the whole document of that drill; not part of an array's sweep
    <T>/blob/journal/<plan>/<run>           a run's journal, for people; not part of an array's sweep
    <T>/blob/report/<plan>/<id>             a run's report (docs/reports.md), for people; not part of an array's sweep; the last 20 stay
    <T>/blob/reports/<plan>/<id>            its summary; the last 200 stay

The witness also keeps:

    <T>/known/<plan>                        Known: the highest committed epoch that it was told of
    <T>/grant/<plan>/<number>               Grant: who may commit that epoch; made by create-if-absent

Records of a volume (they are captured by its snapshots and travel with them) have these keys: `intent`; `kept`: the state
of a diverged volume that was last kept as a safety copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "Alive",
    "Claim",
    "Corrupt",
    "Declared",
    "Digests",
    "Epoch",
    "Grant",
    "Guard",
    "Intent",
    "Known",
    "Lease",
    "MadeHost",
    "Owner",
    "PeerPin",
    "PeerPins",
    "Pin",
    "Record",
    "RestoreRecord",
    "Seal",
    "Split",
    "StoredTopology",
    "Tombstone",
    "VmLevel",
    "WitnessPin",
]

Level = Literal["application", "off", "crash"]


class Record:
    """What stands on arrays under a key of its own: its text carries a checksum, so that damage is told from what was written."""


@dataclass(frozen=True)
class Owner(Record):
    """Who made an object. `stack` is "project/stack", or "" for what `dr` made without Pulumi; `incarnation` tells one create from the next."""

    topology: str
    stack: str
    incarnation: str


@dataclass(frozen=True)
class Guard:
    """What an array checks in the same step as the change that carries it.

    `lease_prefix` and `lease`: the highest record under the prefix must be number `lease` (else LeaseLost).
    `absent`: none of these record keys may exist (else MoveInProgress).
    """

    lease_prefix: str | None = None
    lease: int | None = None
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class VmLevel:
    """How consistent a VM's data is in a group, and the last application entry that is in it (None: not known)."""

    level: Level
    mark: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Intent(Record):
    """Stands on each volume before a group snapshot is taken, so that it is in it: what belongs together, and how to restore it.

    `definitions` maps VM name to the canonical JSON of its VmDefinition as it ran; `hosts` to the host it ran on.
    """

    group: str
    topology: str
    plan: str
    epoch: int
    epoch_id: str
    sequence: int
    site: str
    members: tuple[str, ...]
    time: str
    kind: str
    definitions: Mapping[str, str] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seal(Record):
    """Says that a group is whole: set on each member's snapshot after the thaw was checked. Travels with the snapshot."""

    group: str
    time: str
    consistency: str
    levels: Mapping[str, VmLevel] = field(default_factory=dict)


@dataclass(frozen=True)
class Epoch(Record):
    """A period in which one site may write. The first, number 1, is committed when the plan is first made."""

    plan: str
    number: int
    id: str
    site: str
    state: Literal["committed", "aborted"]
    time: str
    kind: str
    by: str
    previous: str | None = None
    from_site: str | None = None
    point: str | None = None
    word: str | None = None
    proof: tuple[str, ...] = ()
    loss_seconds: float | None = None
    loss_statement: str = ""
    window_until: str | None = None
    """Until then the side that the move left stays as it was, and the plan can go back to it (None: no such window)."""
    window_closed: bool = False
    """The window was ended on record, before anything of that side is changed: there is no way back to it, whatever a clock says."""
    clocks: Mapping[str, str] = field(default_factory=dict)
    """What the clock of each array that answered showed just before the commit."""


@dataclass(frozen=True)
class Claim(Record):
    """A move under way, before its commit. What cannot be taken back stands here: word, chosen point, proofs.

    `point` is None as long as a final snapshot is still to be taken. `stopped` names the VMs that ran when the claim was made:
    those that an abort starts again, and `placed` the host that each ran on.
    """

    plan: str
    number: int
    id: str
    site: str
    from_site: str
    kind: str
    time: str
    by: str
    previous: str
    point: str | None = None
    word: str | None = None
    proof: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    placed: Mapping[str, str] = field(default_factory=dict)
    aborting: bool = False
    safety: Mapping[str, str] = field(default_factory=dict)
    lost_since: str | None = None
    fenced: str = ""
    """How the source was proved to be stopped without a word: `lease` or `witness`. A guard that sees it stops its VMs."""


@dataclass(frozen=True)
class Lease(Record):
    """One reconciler at a time per plan. `beat` rises while the holder lives; expired means that it stood still for the ttl."""

    plan: str
    n: int
    holder: str
    boot: str
    pid: int
    start: float
    beat: int
    since: str
    doing: str
    released: bool = False


@dataclass(frozen=True)
class Pin(Record):
    """Ties an array's own id to its name in a topology; written on the array itself at first use."""

    topology: str
    array: str
    own_id: str
    site: str
    time: str


@dataclass(frozen=True)
class PeerPin:
    own_id: str
    serial: int


@dataclass(frozen=True)
class PeerPins(Record):
    """On every array: the own id of each of the topology's arrays, and the highest serial seen of it (an older one was restored from a backup)."""

    arrays: Mapping[str, PeerPin] = field(default_factory=dict)


@dataclass(frozen=True)
class Split(Record):
    """Both sides have written since `fork`; nothing is resynced until an operator says which one to keep.

    `epoch`: the committed number when it was found. A later epoch has ended it: only a resolve is committed over a split.
    """

    plan: str
    sides: tuple[str, ...]
    fork: str | None
    evidence: tuple[str, ...]
    time: str
    epoch: int = 0


@dataclass(frozen=True)
class Declared(Record):
    """What a stack declared last. `epoch`: the one claimed or in force then, which says what is later before any clock does."""

    plan: str
    site: str
    time: str
    epoch: int = 0


@dataclass(frozen=True)
class Tombstone(Record):
    """Something was removed while a side of it was silent. `incarnation`: of the owner that removed it; what carries a later one is not meant
    ("": whatever is there). `delete_data`: as the topology said. `arrays`: those of the thing (none: the plan's); `volume`: a LUN's."""

    kind: str
    name: str
    plan: str
    time: str
    incarnation: str = ""
    delete_data: bool = False
    arrays: tuple[str, ...] = ()
    volume: str = ""
    clocks: Mapping[str, str] = field(default_factory=dict)
    """What the clock of each array that answered showed then."""


@dataclass(frozen=True)
class MadeHost(Record):
    """A new, empty host in the place of one that was lost would say of its VMs that they are off."""

    host: str
    time: str


@dataclass(frozen=True)
class Digests(Record):
    """What recovery points were when they were read back: point -> "volume/lun" -> SHA-256 in hexadecimal."""

    plan: str
    points: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Corrupt(Record):
    """A recovery point that was read back at a site and is not what it should be. `volumes`: those of it that are wrong; `findings`: sentences."""

    plan: str
    point: str
    site: str
    volumes: tuple[str, ...]
    findings: tuple[str, ...]
    time: str


@dataclass(frozen=True)
class RestoreRecord(Record):
    """A VM that is set back, in its place, to a recovery point: it is not started before that is done. `host` "": wherever it fits."""

    plan: str
    vm: str
    id: str
    site: str
    epoch: int
    point: str
    host: str
    by: str
    time: str


@dataclass(frozen=True)
class StoredTopology(Record):
    """The topology as stored on every array: canonical JSON text, its sha256 and a number that rises with each change."""

    serial: int
    sha256: str
    text: str
    time: str


@dataclass(frozen=True)
class Alive(Record):
    """A run lease: as long as `beat` rises, the guard of the site where the plan is active lives, and its VMs may run.

    A guard that could renew at none of `counts` (arrays by name, and `witness`) for `ttl` seconds has stopped the VMs before another
    `MARGIN` seconds are over. `ended`: it was ended in order, and stops nothing any more.
    """

    plan: str
    site: str
    epoch: int
    epoch_id: str
    beat: int
    ttl: float
    guard: str
    counts: tuple[str, ...]
    time: str
    ended: bool = False


@dataclass(frozen=True)
class Grant(Record):
    """Leave to commit an epoch, given by the witness to one claim."""

    plan: str
    number: int
    claim: str
    site: str
    by: str
    time: str


@dataclass(frozen=True)
class Known(Record):
    """The highest committed epoch of a plan, as told to the witness."""

    plan: str
    number: int
    id: str
    site: str
    time: str


@dataclass(frozen=True)
class WitnessPin(Record):
    """Ties the witness at a place to a topology. One that answers there without this id has forgotten what it was told."""

    id: str
    place: str
    time: str
