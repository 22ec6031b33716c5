"""Models: checkpoints, names of layers, tokens, and the calibration pass."""
