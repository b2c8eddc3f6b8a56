"""Models on disk or on the Hub.

facts             what configs and the headers of weights files say
fingerprint       hashes of a model's bytes
loading           models and tokenizers loaded, and models made of tensors
live_tokenizers   tokenizers of the merges of this process
"""
