"""Names of methods and layers in tables of a terminal, in several lines where they are long, and never broken inside a word."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

#: Where a name may be broken: before a suffix or its settings, and after a comma, or a dot that is not a decimal point.
_BREAKS = re.compile(r"(?=[+(])|(?<=,)|(?<=\.)(?!\d)")


def parts_of(name: str) -> list[str]:
    """The parts of a name that stay whole.

    Examples
    --------
    >>> parts_of("gptq(damping=0.01,group_size=64)+haar"), parts_of("layers.0.self_attn.q_proj")
    (['gptq', '(damping=0.01,', 'group_size=64)', '+haar'], ['layers.0.', 'self_attn.', 'q_proj'])
    """
    return [part for part in _BREAKS.split(name) if part]


def lines_of(name: str, width: int) -> list[str]:
    """A name in lines of at most a width, longer only where one part is.

    Examples
    --------
    >>> lines_of("watersic+rotation+act-order", 18)
    ['watersic+rotation', '+act-order']
    """
    lines = [""]
    for part in parts_of(name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return lines


@dataclass(frozen=True)
class WholeName:
    """A cell of a table with a name in it."""

    name: str

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        longest = max(map(len, parts_of(self.name)), default=0)
        return Measurement(min(longest, options.max_width), min(len(self.name), options.max_width))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text("\n".join(lines_of(self.name, options.max_width)))
