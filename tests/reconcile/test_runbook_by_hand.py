"""The runbook by hand: what is typed is what the drivers would do, and it never makes a second writer. Typed into a real shell, with stand-ins
for the machines' own programs."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dr_provider.arrays.base import Array
from dr_provider.arrays.registry import open_array
from dr_provider.arrays.zfs.byhand import HandLun, HandZfs
from dr_provider.cli.runbook import render
from dr_provider.hypervisors.libvirt.domain import render as domain
from dr_provider.hypervisors.libvirt.facts import facts_unseen
from dr_provider.model.topology import Topology
from dr_provider.reconcile.definitions import vm_definition
from dr_provider.reconcile.runbooks.hands import likely_hosts
from tests.reconcile.test_runbook import book, embedded, real
from tests.support.situations import OWNER

PARTS = ("steps", "back", "after", "afterBack")
"""Of what is done by hand."""


class Drivers:
    """The real drivers of the arrays; none of them is connected."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology

    def array(self, name: str) -> Array:
        return open_array(self._topology.arrays[name], timeout=1.0)


def blocks(document: dict[str, Any], *keys: str) -> list[dict[str, Any]]:
    steps = [step for part in PARTS for step in document["byHand"][part]]
    return [block for step in steps if step["key"] in keys for block in step["blocks"]]


@pytest.mark.parametrize("service", ["tgt", "lio"])
@pytest.mark.parametrize("sudo", [False, True])
def test_every_block_is_a_shell_text(service: str, sudo: bool) -> None:
    def change(doc: dict[str, Any]) -> None:
        for array in doc["arrays"].values():
            array["luns"]["service"] = service
            array["sudo"] = sudo

    document = book(real(change))
    every = blocks(document, *(step["key"] for part in PARTS for step in document["byHand"][part]))
    text = "\n".join(line for block in every for line in block["commands"])
    done = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("targetcli" in text) == (service == "lio")
    assert ("tgtadm" in text) == (service == "tgt")
    assert ("sudo zfs" in text) == sudo


def part_of(element: ET.Element, name: str) -> ET.Element:
    found = element.find(name)
    assert found is not None
    return found


def test_a_domain_by_hand_is_the_drivers_without_its_mark() -> None:
    topology = real()
    document = book(topology)
    texts = [block["commands"] for block in blocks(document, "H6")]
    found = {}
    for lines in texts:
        at = lines.index(next(line for line in lines if line.startswith("cat > ")))
        root = ET.fromstring("\n".join(lines[at + 1 : lines.index("END")]))
        found[str(root.findtext("name"))] = root
    assert set(found) == {"db-byhand", "app-byhand"}
    drivers: Any = Drivers(topology)
    for vm, host in (("db", "west-2"), ("app", "west-1")):
        definition = vm_definition(drivers, topology, vm, "west", OWNER)
        text = domain(
            definition, facts_unseen(topology.hosts[host].options, host), topology.hosts[host].options, (), log=False
        ).xml
        root, theirs = found[f"{vm}-byhand"], ET.fromstring(text)
        assert root.find("metadata") is None, "dr leaves it alone"
        theirs.remove(part_of(theirs, "metadata"))
        for part in ("name", "uuid"):
            assert root.findtext(part) != theirs.findtext(part)
            part_of(root, part).text = part_of(theirs, part).text = ""
        for ours, source in zip(root.iter("source"), theirs.iter("source"), strict=True):
            auth = source.find("auth")
            if auth is not None:
                source.remove(auth)  # by hand no password is asked for
            if source.get("name"):
                # The same LUN of the clone.
                assert ours.get("name") == str(source.get("name")).replace("west-a:", "west-a:byhand-")
                ours.set("name", str(source.get("name")))
        assert ET.canonicalize(ET.tostring(root), strip_text=True) == ET.canonicalize(
            ET.tostring(theirs), strip_text=True
        )


STUB = r"""#!/bin/sh
# zfs, as far as it lists: two generations of vol "shop", a retired point, one that only one volume has, one that is not sealed.
echo "zfs $*" >> "$LOG"
case "$*" in
"list -H -t filesystem -o name -r tank/dr/vols")
  printf '%s\n' tank/dr/vols tank/dr/vols/shop tank/dr/vols/shop/files tank/dr/vols/shop/shop tank/dr/vols/shop/shop.R2 tank/dr/vols/shop/shop.R10 tank/dr/vols/shop/shop-old;;
"list -H -t snapshot -o name -r tank/dr/vols")
  printf 'tank/dr/vols/shop/%s\n' files@e1-s9-aa files@byhand-1 files@byhand-before shop.R2@byhand-1 shop.R10@e1-s9-aa shop-old@byhand-1;;
"list -H -t snapshot -o name,dr:point,dr:seal -r tank/dr/vols/shop/shop.R10")
  printf '%s\t%s\t%s\n' shop.R10@e1-s9-aa 1a:x 1a:y shop.R10@e1-s10-bb 1a:x 1a:y shop.R10@e2-s1-cc 1a:x - shop.R10@_hidden - - shop.R10@e1-s11-dd - 1a:y;;
"list -H -t snapshot -o name,dr:point,dr:seal -r tank/dr/vols/shop/files")
  printf '%s\t%s\t%s\n' files@e1-s9-aa 1a:x 1a:y files@e1-s10-bb 1a:x 1a:y files@e2-s1-cc 1a:x 1a:y;;
"list -H -t snapshot -o name -r tank/dr/vols/shop/shop.R10") printf '%s\n' shop.R10@e1-s9-aa shop.R10@e1-s10-bb;;
"list -H -t snapshot -o name -r tank/dr/vols/shop/files") printf '%s\n' files@e1-s9-aa files@e2-s1-cc;;
"list -H -o name tank/dr/"*) [ "$5" = "$(cat "$LOG.left" 2>/dev/null)" ] || exit 1;;
"get -H -o value mountpoint "*) echo "/$6";;
"get -H -o value origin "*) echo "tank/dr/vols/shop/x@e1-s10-bb";;
"receive "*) cat > /dev/null;;
esac
"""
OTHERS = {
    "ssh": '#!/bin/sh\n[ "$1" = -n ] && shift\nfor last; do :; done\necho "ssh $1 $2 $3" >> "$LOG"\nexec sh -c "$last"\n',
    "tgtadm": '#!/bin/sh\necho "tgtadm $*" >> "$LOG"\ncase "$*" in *"--op show"*) printf "Target 7: %s\\n" iqn.2026-11.io.dr:east-a:shop:app.root;;'
    ' *"--op new --mode target"*) echo "$*" >> "$LOG.targets";; esac\n'
    '[ "$3 $4" != "--op show" ] || [ ! -f "$LOG.targets" ] || sed -n "s/.*--tid \\([0-9]*\\).*--targetname \\(.*\\)/Target \\1: \\2/p" "$LOG.targets"\n',
    # A guest is listed as running for one look after it was told to shut down.
    "virsh": '#!/bin/sh\nshift 2\necho "virsh $*" >> "$LOG"\ncase "$1 $2" in "shutdown "*) echo "$2" > "$LOG.going";;'
    ' "list --name") if [ -f "$LOG.going" ]; then cat "$LOG.going"; rm "$LOG.going"; fi;; esac\n',
    "sleep": "#!/bin/sh\n",
    "cp": '#!/bin/sh\necho "cp $*" >> "$LOG"\n',
    "zpool": "#!/bin/sh\n",
    "systemctl": "#!/bin/sh\n",
}


@pytest.fixture
def typed(tmp_path: Path) -> Callable[..., list[str]]:
    """Type blocks into one shell, and see what came of it."""
    for name, text in {"zfs": STUB, **OTHERS}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    shell = shutil.which("sh") or "/bin/sh"

    def run(*some: dict[str, Any], more: str = "") -> list[str]:
        log = tmp_path / "log"
        log.write_text("", encoding="utf-8")
        text = "\n".join([line for block in some for line in block["commands"]] + [more])
        env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LOG": str(log)}
        done = subprocess.run([shell], input=text, text=True, capture_output=True, env=env, check=False)
        assert done.stderr == ""
        return [*log.read_text(encoding="utf-8").splitlines(), done.stdout]

    return run


def test_the_newest_point_that_all_volumes_have_is_opened_as_clones_of_the_drivers_datasets(typed: Any) -> None:
    said = typed(*blocks(book(real()), "H4", "H5"))
    assert [line for line in said if " clone " in line or " mount " in line] == [
        "zfs clone -o canmount=noauto -o readonly=off tank/dr/vols/shop/files@e1-s10-bb tank/dr/copies/byhand-files",
        "zfs mount tank/dr/copies/byhand-files",
        "zfs clone -o canmount=noauto -o readonly=off tank/dr/vols/shop/shop.R10@e1-s10-bb tank/dr/copies/byhand-shop",
        "zfs mount tank/dr/copies/byhand-shop",
    ]
    offered = [line for line in said if "--backing-store" in line or "--initiator-name" in line]
    assert [line.rpartition(" ")[2] for line in offered] == [
        "/tank/dr/copies/byhand-files/luns/db.data.img",
        "iqn.2026-11.io.dr:west-2",
        "/tank/dr/copies/byhand-shop/luns/db.root.img",
        "iqn.2026-11.io.dr:west-2",
        "/tank/dr/copies/byhand-shop/luns/app.root.img",
        "iqn.2026-11.io.dr:west-1",
    ]
    assert not [line for line in said if re.search(r"rollback|destroy|promote|zfs set", line)], (
        "nothing of dr's is changed"
    )


def test_what_an_earlier_move_by_hand_has_left_is_not_taken_for_the_new_one(typed: Any, tmp_path: Path) -> None:
    (tmp_path / "log.left").write_text("tank/dr/copies/byhand-shop", encoding="utf-8")
    said = [line for line in typed(*blocks(book(real()), "H4")) if re.match("zfs (clone|rename) ", line)]
    assert len(said) == 3
    assert re.fullmatch(r"zfs rename tank/dr/copies/byhand-shop tank/dr/copies/byhand-shop-\d{14}", said[1])
    assert said[2].endswith("shop.R10@e1-s10-bb tank/dr/copies/byhand-shop")


def test_the_last_state_is_sent_to_the_datasets_that_the_peer_has(typed: Any) -> None:
    said = typed(*blocks(book(real()), "H3"))
    # Which end of a pipe writes its line first is chance.
    assert sorted(line for line in said if re.search(r"^zfs (snapshot|send|receive) ", line)) == [
        "zfs receive tank/dr/vols/shop/files",
        "zfs receive tank/dr/vols/shop/shop.R10",
        "zfs send -i @e1-s10-bb tank/dr/vols/shop/shop.R10@byhand-1",
        "zfs send -i @e2-s1-cc tank/dr/vols/shop/files@byhand-1",
        "zfs snapshot tank/dr/vols/shop/files@byhand-1",
        "zfs snapshot tank/dr/vols/shop/shop.R10@byhand-1",
    ]
    assert {line for line in said if line.startswith("ssh")} == {"ssh -p 2222 root@10.0.2.10"}


def test_the_luns_of_the_driver_are_taken_away(typed: Any) -> None:
    said = typed(*blocks(book(real()), "H2"))
    assert [line for line in said if "--op delete" in line] == [
        "tgtadm --lld iscsi --op delete --mode target --force --tid 7"
    ]


def test_targets_of_another_plan_that_is_moved_by_hand_are_left_alone(typed: Any, tmp_path: Path) -> None:
    (tmp_path / "log.targets").write_text("--tid 1001 --targetname iqn.2026-11.io.dr:west-a:byhand-crm:crm.root\n")
    said = typed(*blocks(book(real()), "H5"))
    numbers = [re.search(r"--tid (\d+)", line) for line in said if line.startswith("tgtadm") and "--tid" in line]
    assert sorted({found[1] for found in numbers if found}) == ["1002", "1003", "1004"]
    bound = [line for line in said if "--op bind" in line]
    assert [line.partition("--tid ")[2] for line in bound] == [
        "1002 --initiator-name iqn.2026-11.io.dr:west-2",
        "1003 --initiator-name iqn.2026-11.io.dr:west-2",
        "1004 --initiator-name iqn.2026-11.io.dr:west-1",
    ]


def test_each_guest_is_waited_for_before_what_is_pasted_behind_it(typed: Any) -> None:
    document = book(real())
    *said, out = typed(*blocks(document, "H1")[:1])
    look = "virsh list --name"
    assert said == ["virsh shutdown app", look, look, "virsh shutdown db", look, look, "virsh list --all"]
    assert out == "app still runs\ndb still runs\n"
    # Its definition goes, and its LUNs, when it is off.
    *said, out = typed(*blocks(document, "B1"))
    assert said.index("virsh undefine app-byhand") > max(n for n, line in enumerate(said) if line == look)
    assert out.startswith("db-byhand still runs\napp-byhand still runs\n")


def test_nothing_of_drs_works_beside_a_move_by_hand_and_each_state_has_its_way_back_to_dr(typed: Any) -> None:
    document = book(real())
    first = document["byHand"]["steps"][0]
    assert (first["key"], "before they are given power again" in first["only"]) == ("H0", True)
    assert any("systemctl disable --now dr-protect" in line for line in first["blocks"][0]["commands"])
    only = {step["key"]: step["only"] for step in document["byHand"]["steps"]}
    assert "only when east is known to be stopped" in only["H7"]
    # Back at east: what dr has there is kept before it is overwritten, and no failover is asked for.
    said = typed(*blocks(document, "C2")[:-1])
    assert [line for line in said if line.startswith(("zfs mount", "zfs snapshot"))] == [
        "zfs mount tank/dr/vols/shop/files",
        "zfs snapshot tank/dr/vols/shop/files@byhand-before",
        "zfs mount tank/dr/vols/shop/shop.R10",
        "zfs snapshot tank/dr/vols/shop/shop.R10@byhand-before",
    ]
    copied = [n for n, line in enumerate(said) if line.startswith("cp ")]
    assert said[copied[0]] == "cp --sparse=always /tank/dr/copies/byhand-files/luns/db.data.img /tank/dr/vols/shop/files/luns/db.data.img"  # fmt: skip
    assert (len(copied), copied[0] > max(n for n, line in enumerate(said) if line.startswith("zfs snapshot"))) == (
        3,
        True,
    )
    assert blocks(document, "C2")[-1]["commands"][0].startswith("dr start shop ")
    ends = [block["where"] for block in blocks(document, "C1")]
    assert ends[-1] == "array east-a"
    # Nothing that was made by hand stays, on either side.
    for keys in ("A4", "C3"):
        gone = [line for line in typed(*blocks(document, keys)) if line.startswith("zfs destroy")]
        assert sorted(gone) == sorted(
            2 * ["zfs destroy -r tank/dr/copies/byhand-files", "zfs destroy -r tank/dr/copies/byhand-shop"]
            + 2 * [f"zfs destroy tank/dr/vols/shop/{name}" for name in ("files@byhand-1", "files@byhand-before", "shop.R2@byhand-1")]
        )  # fmt: skip


def test_a_callout_of_the_stack_is_run_by_hand_where_the_stack_would() -> None:
    def change(doc: dict[str, Any]) -> None:
        doc["plans"]["shop"]["callouts"] = {
            "lb": {"after": "move", "by": "pulumi", "command": ["switch", "{{ to_site }}"], "remote": {"host": "lb.example.org", "user": "ops", "port": 2222, "hostKey": "ssh-ed25519 AAAA"}},
            "hold": {"before": "commit", "command": ["true"]},
            "warm": {"after": {"tier": 1}, "command": ["true"]},
        }  # fmt: skip

    document = book(real(change))
    found = {block["says"].partition(". ")[0]: (block["where"], block["enter"]) for block in blocks(document, "H8")}
    here = ("your machine", "")
    assert {said: where for said, where in found.items() if said.startswith("Callout")} == {
        "Callout hold, before the commit (before H5)": here,
        "Callout warm, after tier 1 has started (in H7)": here,
        "Callout lb, after the move (after H7)": ("ops@lb.example.org", "ssh -p 2222 ops@lb.example.org"),
    }


def test_on_the_way_back_the_clones_travel_as_clones_of_the_same_point(typed: Any) -> None:
    said = typed(*blocks(book(real()), "B2"))
    assert sorted(line for line in said if re.search(" (send|receive|snapshot) ", line)) == [
        "zfs receive tank/dr/copies/byhand-files",
        "zfs receive tank/dr/copies/byhand-shop",
        "zfs send -i tank/dr/vols/shop/x@e1-s10-bb tank/dr/copies/byhand-files@byhand-back",
        "zfs send -i tank/dr/vols/shop/x@e1-s10-bb tank/dr/copies/byhand-shop@byhand-back",
        "zfs snapshot tank/dr/copies/byhand-files@byhand-back",
        "zfs snapshot tank/dr/copies/byhand-shop@byhand-back",
    ]


def test_callouts_stand_in_their_order_and_are_run_by_hand_as_they_would_be(typed: Any, tmp_path: Path) -> None:
    (tmp_path / "dns.key").write_text("hunter2", encoding="utf-8")

    def change(doc: dict[str, Any]) -> None:
        doc["plans"]["shop"]["callouts"]["dns"]["environment"] = {"DNS_KEY": f"file:{tmp_path}/dns.key"}
        doc["plans"]["shop"]["callouts"]["dns"]["script"]["text"] += 'echo "$DR_PLAN $DR_TO $DNS_KEY"\n'

    document = book(real(change))
    names = {move["kind"]: [each["name"] for each in move["callouts"]] for move in document["moves"]}
    assert names == {"planned": ["tell", "dns"], "disaster": ["tell", "go", "dns"], "failback": ["tell", "dns"]}
    said = typed(*blocks(document, "H8"))[-1]
    assert said == "shop goes to west, it's disaster\n10.0.2.50 is db now\nshop west hunter2\n"
    assert typed(*blocks(document, "B6"))[-1].endswith("10.0.1.50 is db now\nshop east hunter2\n")
    assert "hunter2" not in render(document, "md")


def test_by_hand_a_lun_has_a_name_of_its_own() -> None:
    topology = real()
    array, lun = HandZfs(topology.arrays["west-a"]), HandLun("shop", "db.root")
    driver = Drivers(topology).array("west-a").lun_target("shop", "db.root")
    assert driver == "iscsi://dr@10.0.2.10/iqn.2026-11.io.dr:west-a:shop:db.root/1?secret=env:DR_CHAP"
    assert array.target(lun, by_hand=False) == "iscsi://10.0.2.10:3260/iqn.2026-11.io.dr:west-a:shop:db.root/1"
    assert array.target(lun) == "iscsi://10.0.2.10:3260/iqn.2026-11.io.dr:west-a:byhand-shop:db.root/1"


def test_hosts_are_those_with_the_most_room_left_and_the_known_ones() -> None:
    topology = real(lambda doc: doc["hosts"]["west-1"].update(memory="10GiB"))
    assert likely_hosts(topology, "shop", "west") == {"db": "west-2", "app": "west-2"}
    assert likely_hosts(topology, "shop", "west", {"db": "west-1", "app": "gone"}) == {"db": "west-1", "app": "west-2"}


def test_embedded_ones_cannot_be_moved_by_hand() -> None:
    document = book(embedded())
    assert document["byHand"] is None
    assert "nothing but dr can read" in document["withoutHands"]
    assert not any(step["byHand"] for move in document["moves"] for step in move["steps"])
