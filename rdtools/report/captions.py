"""Words that the page puts around a figure."""

from __future__ import annotations

from dataclasses import dataclass


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
