"""Score model outputs: pure functions that the benchmark's task YAMLs call, without torch or lm-eval.

text           normalize character width, minus signs and markup
new_question   find where the model starts another question
markers        find the statements that the model marks as its answer
numbers        numbers in text
number_words   number words as digits
periods        numbers that only say when, how long or which
stated_number  the number that a statement gives as its answer
committed      the same, where a statement has several numbers
number_match   whether a number is the gold number
choices        the option that a chain of thought chooses
answers        the answer of an output: a number, a text, a list, yes or no
entities       named entities
matching       whether an answer equals the gold answer, by the rule of each dataset
tatqa          the same for TAT-QA: spans, lists and numbers
japanese_text, japanese_numbers, japanese_words, japanese_answers
               answers in Japanese: the sentences that may give one, numbers, words, right or wrong
documents      the columns of a dataset row that metrics read
metrics        `process_results` of each task
published      `process_results` by the metrics that were published
aggregate      a task's score from the scores of its items
"""
