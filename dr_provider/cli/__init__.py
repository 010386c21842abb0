"""The `dr` command. Nothing heavy is imported before a command needs it: `dr status` is typed in a hurry."""
