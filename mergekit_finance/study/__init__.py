"""The three-stage study: plan it, run and resume it, analyze its results."""
