"""Whole models on held-out tokens: perplexity, divergence from the original, and their intervals."""
