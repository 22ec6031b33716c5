"""Channel reassembly of QLLM: thresholds, matching, and the search for the input map."""
