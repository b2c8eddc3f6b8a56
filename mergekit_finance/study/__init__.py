"""The three-stage study: plan, sweep, resume, decide."""
