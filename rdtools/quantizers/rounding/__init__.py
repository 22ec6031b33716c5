"""Decisions of integers at given steps: to nearest, and with the error of decided columns fed back."""
