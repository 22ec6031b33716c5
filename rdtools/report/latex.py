"""Text as LaTeX prints it, in any document and by any engine: commands are taken apart, and what fonts lack is set as mathematics."""

from __future__ import annotations

import unicodedata

#: What LaTeX takes for a command.
_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", **{c: f"\\{c}" for c in "&%$#_{}"}}
_SIGNS = {
    **{"−": "-", "×": r"\times", "·": r"\cdot", "±": r"\pm", "≤": r"\le", "≥": r"\ge", "∝": r"\propto", "→": r"\to", "∞": r"\infty"},
    **{
        "√": r"\surd",
        "‖": r"\Vert",
        "′": r"{}'",
        "ℓ": r"\ell",
        "½": r"\frac12",
        "¼": r"\frac14",
        "ᵀ": "^{T}",
        "µ": r"\mu",
        "ε": r"\varepsilon",
    },
    **{"φ": r"\varphi"},
}
_WORDS = {"–": "--", "—": "---", "…": r"\dots{}", "ø": r"{\o}", "Ø": r"{\O}", "’": "'"}


def _greek(character: str) -> str:
    """Command of a Greek letter, by its name; "" for other characters and for capitals that look like Latin ones."""
    family, _, rest = unicodedata.name(character, "").partition(" ")
    size, _, name = rest.partition(" LETTER ")
    if family != "GREEK" or " " in name:
        return ""
    name = {"LAMDA": "lambda"}.get(name, name.lower())
    if size == "SMALL":
        return f"\\{name}"
    return f"\\{name.title()}" if name in ("gamma", "delta", "theta", "lambda", "xi", "pi", "sigma", "phi", "psi", "omega") else ""


def _character(character: str) -> str | None:
    """A character that is not ASCII; None where nothing is known."""
    if character in _WORDS:
        return _WORDS[character]
    kind, _, plain = unicodedata.decomposition(character).partition(" ")
    sign = _SIGNS.get(character) or _greek(character)
    if not sign and kind in ("<super>", "<sub>"):
        raised = chr(int(plain, 16))
        sign = f"{'^' if kind == '<super>' else '_'}{{{_SIGNS.get(raised, raised)}}}"
    return f"${sign}$" if sign else None


def latex_text(text: str, *, unknown: str = "?") -> str:
    r"""Text with nothing that LaTeX would take for a command, in ASCII.

    Parameters
    ----------
    unknown : in the place of characters that are not known here

    Examples
    --------
    >>> print(latex_text("q_proj & 50 %, D₀ − λ²"))
    q\_proj \& 50 \%, D$_{0}$ $-$ $\lambda$$^{2}$
    """
    return "".join(_SPECIAL.get(c) or (c if c.isascii() else _character(c) or unknown) for c in text)
