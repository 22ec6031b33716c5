"""Hand-over of a saved model to lm-eval, the harness of downstream tasks (extra ``[eval]``)."""

from __future__ import annotations

import json
import shlex
from pathlib import Path


def lm_eval_command(folder: Path, *, tokenizer: bool) -> str:
    r"""The command line that runs tasks on a saved model in float32; TASKS is for the user to put in.

    Parameters
    ----------
    folder : of the model
    tokenizer : True if it has one; lm-eval is else told to be given one, in place of TOKENIZER

    Examples
    --------
    >>> lm_eval_command(Path("saved"), tokenizer=True)
    'lm_eval --model hf --model_args pretrained=saved,dtype=float32 --tasks TASKS'
    >>> lm_eval_command(Path("w=3, a"), tokenizer=True)
    'lm_eval --model hf --model_args \'{"pretrained": "w=3, a", "dtype": "float32"}\' --tasks TASKS'
    """
    arguments = {"pretrained": str(folder), "dtype": "float32"} | ({} if tokenizer else {"tokenizer": "TOKENIZER"})
    plain = ",".join(f"{name}={value}" for name, value in arguments.items())
    shown = json.dumps(arguments, ensure_ascii=False) if set(str(folder)) & set(",={}") else plain
    return f"lm_eval --model hf --model_args {shlex.quote(shown)} --tasks TASKS"
