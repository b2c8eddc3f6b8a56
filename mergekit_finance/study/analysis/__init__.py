"""Conclusions from stored scores.

summary               all of summary.json, by the modules below
selection             one point per combination and operator, then one per combination
effects, item_flips   Gain, OG, retention, and answers that became right or wrong
operator_comparison   Task Arithmetic against TIES and DARE-TIES over their grids
predictors            whether similarity before a merge predicts its effect
verdict               decides: per task, per combination, and what to ship
search_wording        what a search did not ask
text_tables           tables as text
wording, phrases      the verdict in words; formats of numbers and names
advice_wording        what to ship, in words
combination_wording   the effect of one combination in a plain sentence
objective_wording, unit_wording    the study's own objective, and measures in other units, in words
"""
