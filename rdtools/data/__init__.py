"""The embedded default model and its tokens."""
