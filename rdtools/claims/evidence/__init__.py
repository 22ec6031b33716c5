"""Evidence about layers, one topic per file: the record and the experiment that gathers it."""
