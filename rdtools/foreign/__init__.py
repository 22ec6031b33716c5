"""Quantized checkpoints that others made: what their files hold, as weights and in bits."""
