"""Methods, one per file, each a frozen record of settings with one verb."""
