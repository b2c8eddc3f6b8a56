"""Score model outputs: pure functions that the benchmark's task YAMLs call, without torch or lm-eval.

text           normalize character width, minus signs and markup
new_question   find where the model starts another question
markers        find the statements that the model marks as its answer
numbers        numbers in text
stated_number  the number that a statement gives as its answer
choices        the option that a chain of thought chooses
answers        the answer of an output: a number, a text, a list, yes or no
entities       named entities
matching       whether an answer equals the gold answer, by the rule of each dataset
japanese_text, japanese_numbers, japanese_words, japanese_answers
               answers in Japanese: the sentences that may give one, numbers, words, right or wrong
documents      the columns of a dataset row that metrics read
metrics        `process_results` of each task
aggregate      a task's score from the scores of its items
"""
