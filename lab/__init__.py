"""Two real sites on one Debian machine: ZFS arrays, iSCSI, libvirt hosts and QEMU guests, each machine in namespaces of its own."""
