"""Storage arrays: the interface (`base`) and a sub-package a driver."""
