"""Makes the pages of the documentation: in a checkout alone, beside the pages, and in no wheel."""

from pathlib import Path

#: The pages, and the checkout that they are of.
DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parents[1]
