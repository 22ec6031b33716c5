"""``rdtools doctor``: what works on this machine."""

from __future__ import annotations

import textwrap

import typer

from rdtools.cli.printing import Json, print_json


def doctor(as_json: Json = False) -> int:
    """Check versions, threads, kernels, memory, disk and devices, with remedies; nothing is written and nothing is downloaded.

    Exits with 1 if something keeps rdtools from working.
    """
    from dataclasses import asdict

    from rdtools.cli.console import PlainConsole
    from rdtools.jobs.doctor import doctor as look

    checks = look()
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        width = PlainConsole().width
        for check in checks:
            first, further = f"{check.status:<8} {check.name}: ", " " * 9
            for text, indent in ((check.found, first), *([(f"→ {check.remedy}", further)] if check.remedy else [])):
                lines = textwrap.wrap(
                    text, width, initial_indent=indent, subsequent_indent=further, break_on_hyphens=False, break_long_words=False
                )
                typer.echo("\n".join(lines or [indent.rstrip()]))
    return 1 if any(check.status == "problem" for check in checks) else 0
