"""From stored scores to the tables of FINDINGS.md."""
