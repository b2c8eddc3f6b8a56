"""The lab: four tiny Llamas, really trained, and the generated world that they know.

A base and a finance, a math and a Japanese CPT of it, with rows of that world in the schema of every
dataset, so that the whole study runs anywhere, without a download, on models whose skills differ.

    world.yml -> world.py (what there is to know) -> draw.py (who may see which part of it)
              -> finance.py, arithmetic.py, japanese.py, general.py (items: a prompt's row, its completion)
              -> corpora.py (training documents)  and  rows.py (test rows in the datasets' raw layouts)
              -> tokenizer.py, packing.py, train.py (weights) -> probe.py, profile.py (what was learned)

Nothing here but profile.py imports a host, so that training runs wherever torch and transformers do.
"""

ROLES = ("base", "finance", "math", "japanese")
