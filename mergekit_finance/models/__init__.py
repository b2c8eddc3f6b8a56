"""Models on disk or on the Hub.

facts             facts about a model from its config and file headers, read without mergekit or transformers
presence          which weights are on this machine
model_class       whether config.json names one model class
weight_files      headers of safetensors files and sampled values
pickled_weights   the tensors of a `.bin` file, without running code in it
buffers           names of tensors that are computed from the config and not loaded
tokenizer_files   tokens and ids
chat_templates    chat templates in a model's folder
json_files        bounded reading of a model's JSON files
licenses          what each license requires
card_licenses     the licenses and languages that a model card names
fingerprint       hashes of a model's files
config_values     types of the values in config.json and tokenizer files
finite_values     NaN and infinity in all weights
live_fingerprint  the hash of a model in memory
loading           load models and tokenizers; build a model from tensors
spread            one model over several GPUs
reading           all files of several models at a time, with progress bars
live_tokenizers   the tokenizers of the models merged in this process
"""
