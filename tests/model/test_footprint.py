from __future__ import annotations

import numpy as np

from rdtools.model.checkpoint import open_checkpoint
from rdtools.model.footprint import capture_bytes
from rdtools.model.inputs import find_layers
from rdtools.model.opened import OpenModel
from rdtools.model.stages import Stages
from rdtools.model.tokens import Tokens


def _opened(directory, kept_bytes):
    checkpoint = open_checkpoint(directory)
    stages = Stages(checkpoint, kept_bytes=kept_bytes)
    return OpenModel(stages.model, stages, find_layers(stages.model, checkpoint, stages=stages), "by blocks")


def test_the_largest_part_of_a_capture_by_hand(tmp_path):
    """A block of 4 d² + 3 d f + 2 d weights; inputs of d, d, d and f columns; 24 tokens in one batch."""
    from transformers import AutoConfig, AutoModelForCausalLM

    d, f, tokens = 16, 40, 24
    sizes = {"vocab_size": 32, "hidden_size": d, "intermediate_size": f, "num_hidden_layers": 2, "num_attention_heads": 2}
    AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **sizes)).save_pretrained(tmp_path)
    ids = Tokens(np.ones((3, 8), dtype=np.int64), np.ones((3, 8), dtype=bool), "test")
    hidden, block = 4 * tokens * d, 4 * (4 * d * d + 3 * d * f + 2 * d)
    sums = 8 * (3 * d * d + f * f)
    running = sums + 16 * tokens * (f + d)
    finishing = max(sums + 9 * d * d, 8 * f * f + 9 * f * f)
    assert capture_bytes(_opened(tmp_path, 0), ids) == hidden + block + max(running, finishing)
    assert capture_bytes(_opened(tmp_path, 2**30), ids) == hidden + max(running, finishing)
