"""Figures as part of the page: SVG that takes its colours from the page and shares no name with another figure."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from rdtools.methods.table import GREY

#: Characters of an SVG that is put into the page; of a larger one the PNG is.
MAX_CHARACTERS = 900_000
#: Width of a figure on a narrow screen over its width in print, at least; the figure scrolls.
_MIN_SCALE = 0.92


def _own_names(svg: str, name: str) -> str:
    """Names of elements, and what refers to them, with the name of the figure before them."""
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)


def _page_colors(svg: str) -> str:
    """Black is the colour of the page's text, white that of its paper, grey its own; text without a colour is black."""
    for color, on_page in (("#000000", "currentColor"), ("#ffffff", "var(--paper)"), (GREY.lower(), "var(--grey)")):
        svg = svg.replace(color, on_page)
    return svg


def inline_figure(png: Path, alt: str) -> tuple[str, int]:
    """HTML of a figure whose PNG has an SVG beside it, and the width below which a narrow screen scrolls it, in pixels."""
    svg = png.with_suffix(".svg").read_text()
    size = re.search(r'<svg[^>]*\bwidth="([\d.]+)pt"', svg)
    width = round(float(size[1]) * 96 / 72) if size else 0
    if len(svg) > MAX_CHARACTERS:
        data = base64.b64encode(png.read_bytes()).decode()
        return f'<img alt="{alt}" width="{width}" src="data:image/png;base64,{data}">', round(_MIN_SCALE * width)
    start = svg.find("<svg")
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[start:], flags=re.DOTALL)
    body = body.replace("<svg", f'<svg role="img" aria-label="{alt}"', 1)
    return _page_colors(_own_names(body, png.stem)).rstrip(), round(_MIN_SCALE * width)
