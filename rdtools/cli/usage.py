"""Sentences for what the parser of the command line refuses: what was got, what was expected, and the nearest that there is."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Sequence
from typing import Any

#: Options of neighbouring tools, and what to do here in their place.
_ELSEWHERE = {
    "--bits": "did you mean --rates, such as --rates 3?",
    "--seed": "did you mean --seeds, such as --seeds 0?",
    "--dataset": "there are no data sets by name: give a file, by --text FILE or, of token ids, by --tokens FILE",
    "--group-size": "did you mean a method of that group size, such as --methods gptq-g128?",
    "--output": "did you mean --out?",
    "-o": "did you mean --out?",
    "-m": "did you mean --model?",
}
_BOUND, _CHOICES = re.compile(r"should be (greater|less) than or equal to (\S+)"), re.compile(r"is not one of (.+?)\.?$")
#: What the parser says of a value, and what is expected in its place.
_KINDS = {"valid integer": "a whole number, such as 2", "valid number": "a number, such as 3 or 0.01"}


def usage_message(error: Any, arguments: Sequence[str]) -> str:
    """The sentence of an error of the parser.

    Parameters
    ----------
    error : of click, under whatever name typer brings it along
    arguments : of the command line
    """
    text, context = str(error.format_message()), getattr(error, "ctx", None)
    words = arguments[: 2 if arguments[:1] == ["hessians"] else 1] if context is not None and context.parent is not None else ()
    command = " ".join(["rdtools", *words, "--help"])
    option = getattr(error, "option_name", None)
    if option is not None and getattr(error, "possibilities", None) is not None:
        parameters = context.command.params if context else []
        for name in (parameter.name for parameter in parameters if parameter.param_type_name == "argument"):
            if option == f"--{name}":
                return f"no option {option}; give its value alone: {command.removesuffix(' --help')} {name.upper()}"
        known = [name for parameter in parameters for name in parameter.opts if name.startswith("--")]
        elsewhere = _ELSEWHERE.get(option, "")
        if not any(word in known for word in re.findall(r"--[a-z-]+", elsewhere)):
            elsewhere = ""  # of another command
        nearest = difflib.get_close_matches(option, known, n=1, cutoff=0.5)
        if elsewhere or nearest:
            return f"no option {option}; {elsewhere or f'did you mean {nearest[0]}?'}"
    kind = next((kind for words, kind in _KINDS.items() if words in text), "")
    bound, choices = _BOUND.search(text), _CHOICES.search(text)
    if bound is not None:
        kind = f"a number of at {'least' if bound[1] == 'greater' else 'most'} {bound[2]}"
    elif choices is not None:
        kind = f"one of {choices[1].replace(chr(39), '')}"
    for name in getattr(getattr(error, "param", None), "opts", ()) if kind else ():
        values = [value for at, value in itertools.pairwise(arguments) if at == name]
        values += [argument.partition("=")[2] for argument in arguments if argument.startswith(f"{name}=")]
        if values:
            return f"{name} {values[-1]!r}: expected {kind}"
    extra = re.search(r"unexpected extra arguments? ?(?:\(s\))? ?\((.*)\)", text)
    if extra is not None and context is not None:
        known = [name for parameter in context.command.params for name in parameter.opts]
        option = next((name for name in ("--model", "--run") if name in known), "")
        meant = f"did you mean {option} {extra[1]}?" if option else f"see {command}"
        return f"{extra[1]!r}: one argument too many; {meant}"
    return text if "Did you mean" in text else f"{text.rstrip('.')}; see {command}"
