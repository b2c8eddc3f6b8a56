"""Trains, probes and profiles the lab's models; README.md lists the commands.

    mergekit_finance.lab -> corpora.py (training documents, by prompts.py) -> tokenizer.py, packing.py
        -> train.py -> probe.py (a quick look), profile.py (with lm-eval), findings.py (several studies)

Only profile.py and findings.py need more of mergekit-finance than its lab and its scoring functions.
"""
