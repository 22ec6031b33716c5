"""The work of each command, as functions that a notebook calls."""
