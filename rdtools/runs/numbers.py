"""Versions of the numbers that rows and verdicts hold."""

#: Part of the key of every row: rows of another version are computed again. Raise it with any change after which a row of the same
#: weights, Hessian, settings, rate and seed holds other numbers or columns: another rounding, another formula, a new column. A change of
#: speed, messages or layout leaves it as it is.
NUMBERS_VERSION = 8
#: The same for verdicts of claims, whose keys hold both: raise it where a claim, or an experiment behind it, comes to other numbers.
VERDICTS_VERSION = 1
