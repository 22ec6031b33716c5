"""Records of a run on disk: finished rows, the plan they belong to, and the list that ties result files together."""
