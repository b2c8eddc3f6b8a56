"""Models on disk or on the Hub.

facts             what a model's files say, read without a host
weight_files      headers of safetensors files and sampled values
tokenizer_files   tokens and ids
json_files        bounded reading of a model's JSON files
fingerprint       hashes of a model's bytes
loading           models and tokenizers loaded, and models made of tensors
live_tokenizers   tokenizers of the merges of this process
"""
