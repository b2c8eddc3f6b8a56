"""7. Share: a model card of a chosen point, sending it to the Hub, and a leaderboard of several results.

source_models.py  the models that a point merges, and who names which license for them
choice.py         the point that a card is about, with everything the study stores of it
provenance.py     checks that the point's recipe is the one whose scores are shown
front_matter.py   the YAML that the Hub reads
body.py           the text that people read
card_tables.py    its tables
facts.py          what the text says of the folder and of the installation
usage.py          its commands: load the merge, make it, repeat the study
install.py        where others can install the packages from
languages.py      of the experts and the tasks
bibliography.py   BibTeX from references.bib
card.py           the folder: card, recipe, results, figures, weights
card_files.py     the typed models of the files that `card` writes, and their reader
manifest.py       which files of the folder may be shared
hub.py            sending them
ranked_results.py results of studies and cards that a leaderboard compares
ranking.py        their models by score, with intervals
ranking_text.py   the leaderboard as text, Markdown, CSV, JSON or HTML
"""
