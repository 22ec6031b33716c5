"""Searches: the step that has a rate, the scale that has the smallest loss, the rescalers that pay for themselves."""
