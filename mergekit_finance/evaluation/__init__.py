"""Answers and scores of live models, with lm-eval: what is stored of them, and what they depend on (keys).

evaluator, measurement        measure a model with lm-eval's tasks
live_models, live_merges      models and merges in memory, ready to answer
mergekit_lm                   `lm_eval --model mergekit`
answering, answer_store       ask only for answers that are not stored, and store them
inference                     the compiled engine, faster than `hf`
batch_limit, truncation       batches that fit the device, prompts that do not fit the context
chat                          prompts in the chat format of each model
task_measures, item_scores    which metric is the score, and the scores of single items
task_errors                   errors of a task's rows, file or code in one line
declared_tasks                tasks and their scores as task files declare them, for checks
columns, digest               scores.json, short hashes
keys, source_hash             what answers and scores depend on, with the code that makes them
"""
