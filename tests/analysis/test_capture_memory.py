from __future__ import annotations

from rdtools.analysis import capture_memory


def test_a_dry_run_predicts_the_peak_of_a_capture_within_a_fifth(tmp_path):
    """At shapes at which a block and its sums take more than the process itself; the script has the figures of a real model's shapes."""
    sizes = {"hidden_size": 512, "intermediate_size": 8192, "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 20000}
    config = capture_memory._LLAMA_1B | sizes | {"num_hidden_layers": 1}
    found = capture_memory.measure(tmp_path / "work", config=config, sequences=4, length=256)
    assert found["runner"] == "by blocks"
    assert abs(found["predicted_bytes"] / found["measured_bytes"] - 1) < 0.2
