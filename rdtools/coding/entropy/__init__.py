"""Entropy models of integers and the range coder."""
