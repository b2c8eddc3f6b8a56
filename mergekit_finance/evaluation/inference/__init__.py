"""Answer lm-eval's requests faster than its `hf` model does, with the same answers.

compiled_lm        the model that lm-eval asks
attention          which models are supported, and how a decoding step attends
choices, packing   log-likelihoods, with shared prefixes computed once
generation, stops  greedy answers of many requests at a time, and where they end
kv_cache, graphs   keys and values in fixed buffers, decoding steps captured as CUDA graphs
float32_products   bfloat16 linear layers on processors that compute float32 much faster
kept_model         one live model whose memory the next one takes
"""
