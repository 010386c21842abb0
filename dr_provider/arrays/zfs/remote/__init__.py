"""The program that runs on a zfs array: sent there over SSH, standard library only, Python 3.8 or newer, relative imports only."""
