"""Words around a figure, on the page and beside its file."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Any

from rdtools.units import SCALAR_LOSS_BITS


@dataclass(frozen=True)
class Caption:
    """Words around a figure; every figure module has one, as ``CAPTION``.

    Attributes
    ----------
    title : heading of its section
    alt : what is seen, for who does not see it
    text : HTML and Jinja; it says what is compared, with which bound, under which coder, over how many layers, and what the bars are. It
        knows `run`, the manifest; `layers`, their number; and `scalar_loss`, the bits of an ideal scalar quantizer above R(D).
    """

    title: str
    alt: str
    text: str

    def plain(self, *, layers: int, run: Any = None) -> str:
        """The text without HTML, in one line.

        Parameters
        ----------
        layers : number of layers that are drawn
        run : manifest of the run, for captions that read it; None where rows are of no run

        Examples
        --------
        >>> Caption("A", "b", "<i>R</i> of {{ layers }} layers, {{ scalar_loss }} bit.").plain(layers=3)
        'R of 3 layers, 0.2546 bit.'
        """
        from jinja2 import Environment, StrictUndefined

        facts = {"layers": layers, "run": run, "scalar_loss": f"{SCALAR_LOSS_BITS:.4f}"}
        text = Environment(undefined=StrictUndefined, autoescape=True).from_string(self.text).render(facts)
        return " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).split())
