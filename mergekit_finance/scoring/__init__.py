"""Right or wrong: pure functions that the benchmark's task YAMLs name. They import neither torch nor lm-eval.

text           one form for width, minus signs and markup
new_question   where the model starts a question of its own
markers        the statements that it marks as its answer
numbers        numbers in text
stated_number  the one number that a statement commits to
choices        the option that a chain of thought chooses
answers        the number, text, list, yes or no of an output
entities       named entities
matching       whether an answer equals the gold one, by the rule of each dataset
documents      the columns of a row that metrics read
metrics        `process_results` of each task
aggregate      the score of a task from the scores of its items
"""
