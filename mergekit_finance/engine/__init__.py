"""Tensor arithmetic of the merge operators. Imports torch, NumPy and `mergekit_finance.errors` only.

`dispatch.merge(out, base, terms, rule, options)` merges one output tensor with the implementation for the
tensors' device. docs/engine.md explains why there are several.

    terms           arguments and results of a merge: Term (one expert), Rule, PassOptions, PassResult
    dispatch        merge, sign_balance, keep_norm: the functions to call, for tensors on any device
    reference       the definition of the operators: a few plain operations on whole tensors
    blocks          the operators on the CPU, fused over blocks that fit in the cache
    triton_kernels  the operators as one GPU kernel
    plain_torch     the operators in plain torch, for devices without Triton
    masks           DARE's keep masks, a pure function of (seed, mask_id, tensor, index)
    top_k           the exact k-th largest magnitude, from histograms of the bits
    cuts            trim thresholds of task vectors that are never held in memory as a whole
    sweep_cuts      trim thresholds for all densities of a sweep, computed together
    finite          checks for NaN and Inf
    parallel        run a function over blocks of a flat tensor, on torch's number of threads
"""
