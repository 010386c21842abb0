"""ZFS arrays over SSH, with LUNs over iSCSI.

array.py       the driver: each call is one request; calls.py: what the requests have in common; transfer.py: replication
session.py     the connection to an array: ssh.py (its words), connection.py, bootstrap.py (the program sent over it), bulk.py (data)
remote/        the program that runs on the array
"""

from dr_provider.arrays.zfs.array import ZfsArray

__all__ = ["ZfsArray"]
