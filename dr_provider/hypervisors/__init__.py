"""Hosts: the hypervisor interface (`base`) and a sub-package a driver."""
