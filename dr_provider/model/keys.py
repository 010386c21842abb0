"""The keys of an array's records, and the small conventions in names and times; model.records lists them."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime

__all__ = [
    "alive_key",
    "answer_key",
    "answer_prefix",
    "at",
    "callouts_key",
    "claim_key",
    "corrupt_key",
    "corrupt_prefix",
    "declared_key",
    "digests_key",
    "drill_document_key",
    "drill_end_key",
    "drill_hold",
    "drill_key",
    "drill_of_tag",
    "drill_result_key",
    "drill_result_prefix",
    "drill_tag",
    "drill_vm",
    "drill_volume",
    "epoch_key",
    "epoch_prefix",
    "grant_key",
    "host_key",
    "known_key",
    "lease_key",
    "lease_prefix",
    "lun_name",
    "mirror_name",
    "new_id",
    "new_incarnation",
    "now",
    "owner_key",
    "peers_key",
    "pin_key",
    "point_name",
    "point_order",
    "report_key",
    "report_line_key",
    "report_line_prefix",
    "restore_key",
    "restore_prefix",
    "restore_volume",
    "safety_volume",
    "split_key",
    "stamp",
    "tombstone_key",
    "topology_key",
    "vm_uuid",
    "witness_key",
]

_POINT = re.compile(r"e(\d+)-s(\d+)-([0-9a-f]+)")
_UUIDS = uuid.UUID("6a1f6f4e-6f0e-4c44-9c5b-0d5f0c2d9a10")


def pin_key(topology: str) -> str:
    return f"{topology}/pin"


def peers_key(topology: str) -> str:
    return f"{topology}/peers"


def epoch_prefix(topology: str, plan: str) -> str:
    return f"{topology}/epoch/{plan}/"


def epoch_key(topology: str, plan: str, number: int, epoch_id: str) -> str:
    return f"{epoch_prefix(topology, plan)}{number:06d}/{epoch_id}"


def claim_key(topology: str, plan: str) -> str:
    return f"{topology}/claim/{plan}"


def callouts_key(topology: str, plan: str) -> str:
    return f"{topology}/callouts/{plan}"


def answer_prefix(topology: str, plan: str) -> str:
    """Behind it: the claim's id, a slash, and the prompt's name."""
    return f"{topology}/answer/{plan}/"


def answer_key(topology: str, plan: str, claim_id: str, prompt: str) -> str:
    return f"{answer_prefix(topology, plan)}{claim_id}/{prompt}"


def lease_prefix(topology: str, plan: str) -> str:
    return f"{topology}/lease/{plan}/"


def lease_key(topology: str, plan: str, n: int) -> str:
    return f"{lease_prefix(topology, plan)}{n:010d}"


def alive_key(topology: str, plan: str, site: str) -> str:
    return f"{topology}/alive/{plan}/{site}"


def witness_key(topology: str) -> str:
    return f"{topology}/witness"


def known_key(topology: str, plan: str) -> str:
    return f"{topology}/known/{plan}"


def grant_key(topology: str, plan: str, number: int) -> str:
    return f"{topology}/grant/{plan}/{number:06d}"


def split_key(topology: str, plan: str) -> str:
    return f"{topology}/split/{plan}"


def declared_key(topology: str, stack: str, plan: str) -> str:
    """`stack` is "project/stack"."""
    return f"{topology}/declared/{stack}/{plan}"


def tombstone_key(topology: str, kind: str, name: str) -> str:
    return f"{topology}/tombstone/{kind}/{name}"


def owner_key(topology: str, kind: str, name: str) -> str:
    """`kind` is volume, lun, vm, mirror or plan."""
    return f"{topology}/owner/{kind}/{name}"


def drill_key(topology: str, plan: str, drill: str) -> str:
    return f"{topology}/drill/{plan}/{drill}"


def drill_end_key(topology: str, plan: str, drill: str) -> str:
    return f"{topology}/drill-end/{plan}/{drill}"


def drill_result_prefix(topology: str, plan: str) -> str:
    return f"{topology}/drill-result/{plan}/"


def drill_result_key(topology: str, plan: str, result: str) -> str:
    """`result`: an incarnation, so that they sort by time."""
    return f"{drill_result_prefix(topology, plan)}{result}"


def drill_document_key(topology: str, plan: str, result: str) -> str:
    return f"{topology}/blob/drill/{plan}/{result}"


def digests_key(topology: str, plan: str) -> str:
    return f"{topology}/blob/digests/{plan}"


def corrupt_prefix(topology: str, plan: str) -> str:
    return f"{topology}/corrupt/{plan}/"


def corrupt_key(topology: str, plan: str, point: str, site: str) -> str:
    return f"{corrupt_prefix(topology, plan)}{point}/{site}"


def restore_prefix(topology: str, plan: str) -> str:
    return f"{topology}/restore/{plan}/"


def restore_key(topology: str, plan: str, vm: str) -> str:
    return f"{restore_prefix(topology, plan)}{vm}"


def restore_volume(volume: str, vm: str) -> str:
    """The clone that a VM's disks are set back from; gone when they are."""
    return f"{volume}.restore.{vm}"


def host_key(topology: str, host: str) -> str:
    return f"{topology}/host/{host}"


def topology_key(topology: str) -> str:
    return f"{topology}/blob/topology"


def report_key(topology: str, plan: str, report: str) -> str:
    return f"{topology}/blob/report/{plan}/{report}"


def report_line_key(topology: str, plan: str, report: str) -> str:
    return f"{report_line_prefix(topology, plan)}{report}"


def report_line_prefix(topology: str, plan: str) -> str:
    return f"{topology}/blob/reports/{plan}/"


def mirror_name(volume: str, copy: str) -> str:
    """A mirror is a pair of copies of a volume; the topology names it by the one that is not its home."""
    return f"{volume}.{copy}"


def lun_name(vm: str, role: str) -> str:
    return f"{vm}.{role}"


def point_name(epoch: int, sequence: int, group: str) -> str:
    """A recovery point's id, which is also the name of its snapshots: ordered by (epoch, sequence), made unique by the group's id."""
    return f"e{epoch}-s{sequence}-{group}"


def point_order(name: str) -> tuple[int, int, str] | None:
    """(epoch, sequence, group) of a recovery point's id; None: not one."""
    match = _POINT.fullmatch(name)
    return (int(match[1]), int(match[2]), match[3]) if match else None


def drill_volume(volume: str, drill: str) -> str:
    return f"{volume}.drill.{drill}"


def drill_vm(vm: str, drill: str) -> str:
    return f"{vm}.drill.{drill}"


def drill_tag(topology: str, plan: str, drill: str) -> str:
    """The tag under which a drill keeps capacity on hosts, which other plans and topologies may use too."""
    return f"drill.{topology}.{plan}.{drill}"


def drill_of_tag(topology: str, tag: str) -> tuple[str, str] | None:
    """(plan, drill) of a drill's tag; None: it is not one of this topology."""
    parts = tag.split(".")
    return (parts[2], parts[3]) if len(parts) == 4 and parts[:2] == ["drill", topology] else None


def drill_hold(drill: str) -> str:
    """The tag of the holds on the point that a drill was made of; of a volume, which is one plan's."""
    return f"drill.{drill}"


def safety_volume(volume: str, label: str) -> str:
    """A safety copy's name; `label` tells one from the next (epoch number and claim id)."""
    return f"{volume}.safety.{label}"


def vm_uuid(topology: str, name: str) -> str:
    return str(uuid.uuid5(_UUIDS, f"{topology}/{name}"))


def new_id() -> str:
    return uuid.uuid4().hex[:8]


def new_incarnation() -> str:
    """Sorts after every one that was made before: of two owner records of one thing, the later one is known without a clock of the array."""
    return f"{int(now().timestamp() * 1000):011x}{uuid.uuid4().hex[:4]}"


def now() -> datetime:
    return datetime.now(UTC)


def stamp(time: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def at(text: str) -> datetime:
    """A time from RFC 3339; raises ValueError."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
