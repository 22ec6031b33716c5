"""``rdtools methods``: the registry, for people and for programs."""

from __future__ import annotations

import json

import typer

from rdtools.cli.printing import Json


def methods(as_json: Json = False) -> int:
    """Print every method: its name, its rates in bits per weight, the devices that it works on, and what it is."""
    from rdtools.methods import METHODS, ORDERS, ROTATIONS

    if as_json:
        typer.echo(json.dumps([entry.record() for entry in METHODS.values()], indent=1))
        return 0
    from rich.table import Column, Table

    from rdtools.cli.console import PlainConsole

    table = Table(Column("method", no_wrap=True), "bits", "device", "description", box=None, pad_edge=False)
    for entry in METHODS.values():
        values = entry.rates.get("values") or [entry.rates["min"], entry.rates["max"]]
        table.add_row(entry.name, f"{values[0]:g} to {values[-1]:g}", entry.device, entry.description)
    console = PlainConsole()
    console.print(table)
    suffixes = (", ".join(f"+{suffix}" for suffix in names) for names in (ROTATIONS, ORDERS))
    console.print(f"\nEach also with {', then '.join(suffixes)}; other settings as in gptq(group_size=64).", soft_wrap=True)
    biased = ", ".join(entry.name for entry in METHODS.values() if hasattr(entry.make(3.0), "bias"))
    console.print(f"With +bias, a bias of 16 bits per row that takes the mean of the output error away: {biased}.", soft_wrap=True)
    return 0
