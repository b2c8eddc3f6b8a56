"""Training and evaluation of the lab's models. README.md lists the commands.

    mergekit_finance.lab -> corpora.py (training documents, by prompts.py) -> tokenizer.py, packing.py
        -> train.py (by plans.py, card.py) -> probe.py (a quick test), profile.py (with lm-eval),
        criteria.py (what the experts must meet), sweep.py, findings.py (several studies)

profile.py, criteria.py, sweep.py and findings.py use most of mergekit-finance. The others use only its lab
and scoring packages.
"""
