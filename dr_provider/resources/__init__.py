"""The dynamic resources, one file a kind: thin, from properties to the model and one call down.

A provider class is stored in the stack's state by its module path and name: both are format, and the classes take no arguments.
"""
