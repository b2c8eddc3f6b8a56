"""`mergekit-finance report`: figures and one page from a study's stored results. Reads no model, no torch.

stored.py    OUT as it is on disk, checked         labels.py   what things are called in pictures
figures/     one module a figure                   items.py    right and wrong, prompts and answers
tables.py    rows of the page's tables             html.py     the page; templates/ text, style, script
writing.py   everything made first, then written under temporary names and renamed
"""
