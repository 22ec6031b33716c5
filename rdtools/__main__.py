"""``python -m rdtools``."""

from rdtools.cli.main import run

run()
