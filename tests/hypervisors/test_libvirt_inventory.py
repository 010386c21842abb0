"""Every domain of a host, ours or not, as its XML says."""

from __future__ import annotations

from dr_provider.model.inventory import FoundDisk, FoundNic, FoundVm
from tests.hypervisors.libvirt_fake_bench import FakeLibvirtBench, vm

GIB = 1 << 30
# As virt-install 4.1 writes them; shortened.
FOREIGN = """<domain type='kvm'>
  <name>Mail Server</name><uuid>1b7a7f4e-0000-4000-8000-000000000001</uuid><metadata/>
  <memory unit='KiB'>4194304</memory><vcpu placement='static'>2</vcpu>
  <devices>
    <disk type='file' device='disk'><source file='/var/lib/libvirt/images/mail.qcow2'/><target dev='vda' bus='virtio'/></disk>
    <disk type='block' device='disk'><source dev='/dev/zvol/tank/mail-data'/><target dev='vdb' bus='virtio'/></disk>
    <disk type='volume' device='disk'><source pool='default' volume='logs'/><target dev='vdc' bus='virtio'/></disk>
    <disk type='network' device='disk'><source protocol='rbd' name='rbd/mail'/><target dev='vdd' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><source file='/iso/debian.iso'/><target dev='sda' bus='sata'/></disk>
    <disk type='file' device='disk'><target dev='vde' bus='virtio'/></disk>
    <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br-prod'/></interface>
    <interface type='network'><mac address='52:54:00:00:00:02'/><source network='default'/></interface>
    <interface type='user'><mac address='52:54:00:00:00:03'/></interface>
  </devices>
</domain>"""


def test_a_domain_that_is_not_ours() -> None:
    bench = FakeLibvirtBench()
    host = bench.open()
    bench.libvirt.defineXMLFlags(FOREIGN, 0)
    bench.libvirt.sizes = {"vda": 20 * GIB, "vdb": 0}
    host.define(vm("db"))
    bench.libvirt.domains["Mail Server"].createWithFlags(0)
    foreign, ours = host.inventory()
    assert foreign == FoundVm(
        "Mail Server",
        2,
        4 * GIB,
        True,
        (
            FoundDisk("vda", "/var/lib/libvirt/images/mail.qcow2", 20 * GIB),
            FoundDisk("vdb", "/dev/zvol/tank/mail-data"),
            FoundDisk("vdc", "default/logs"),
            FoundDisk("vdd", "rbd:rbd/mail"),
        ),
        (FoundNic("br-prod", "52:54:00:00:00:01"), FoundNic("default", "52:54:00:00:00:02")),
    )
    assert (ours.name, ours.topology, ours.plan) == ("db", "shop-test", "shop")


def test_a_domain_that_goes_while_we_look_is_passed_over() -> None:
    bench = FakeLibvirtBench()
    bench.libvirt.defineXMLFlags(FOREIGN, 0)
    bench.libvirt.gone = {"Mail Server"}
    assert bench.open().inventory() == ()
