"""The command line for lm-eval, run where that is installed."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_tiny_llama

from rdtools.evaluation.harness import lm_eval_command
from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest
from rdtools.jobs.evaluate import evaluate
from rdtools.jobs.quantize import quantize_model

TASK = """
task: words
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: byte_perplexity}]
"""


def test_a_folder_without_tokenizer_is_given_one():
    assert lm_eval_command(Path("it's"), tokenizer=False) == (
        "lm_eval --model hf --model_args 'pretrained=it'\"'\"'s,dtype=float32,tokenizer=TOKENIZER' --tasks TASKS"
    )


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="the extra [eval] is not installed")
@pytest.mark.parametrize("name", ["saved", "w=3, saved"])
def test_lm_eval_takes_the_line_and_finds_the_same_likelihood(tmp_path, name):
    """A text of 23 words behind the token that begins texts: e^{mean nll · 23 / bytes} is the harness's perplexity per byte, to 1e-6."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    model, saved = make_tiny_llama(tmp_path / "model"), tmp_path / name
    words = Tokenizer(models.WordLevel({"<s>": 0, **{f"w{k}": k for k in range(1, 64)}}, unk_token="<s>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="<s>").save_pretrained(model)
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 64, (1, 23))
    quantize_model(str(model), "rtn", 3, saved, calibration=CalibrationRequest(tokens=rng.integers(0, 64, (8, 24))))
    ours = evaluate(saved, evaluation=EvaluationRequest(tokens=np.concatenate([[[0]], ids], axis=1)), noise=False)
    text = " ".join(f"w{k}" for k in ids[0])
    (tmp_path / "tasks").mkdir()
    (tmp_path / "text.jsonl").write_text(json.dumps({"text": text}))
    (tmp_path / "tasks" / "words.yaml").write_text(TASK.replace("DATA", str(tmp_path / "text.jsonl")))
    line = lm_eval_command(saved, tokenizer=True).replace("TASKS", "words")
    program, *arguments = shlex.split(line)
    assert program == "lm_eval"
    own = ["--include_path", str(tmp_path / "tasks"), "--output_path", str(tmp_path / "out"), "--device", "cpu"]
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"), "1") | {"HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-m", "lm_eval", *arguments, *own], env=os.environ | offline, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads(next((tmp_path / "out").rglob("results*.json")).read_text())["results"]["words"]
    assert results["byte_perplexity,none"] == pytest.approx(math.exp(math.log(ours["perplexity"][0]) * 23 / len(text)), rel=1e-6)
