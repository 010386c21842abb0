"""The runbook: a move as a document for people, with the commands for doing it by hand."""
