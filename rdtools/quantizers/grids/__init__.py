"""Grids: per row, per row and group, per column, and unbounded ones for entropy coding."""
