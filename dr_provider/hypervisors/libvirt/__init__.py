"""The libvirt driver: QEMU guests on any host that libvirt reaches."""

from dr_provider.hypervisors.libvirt.host import LibvirtHost

__all__ = ["LibvirtHost"]
