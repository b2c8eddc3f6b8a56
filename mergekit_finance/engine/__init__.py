"""Tensor arithmetic of the merge operators. Imports torch, NumPy and `mergekit_finance.errors` only.

One output tensor is merged by one call, `dispatch.merge(out, base, terms, rule, options)`, which picks the
implementation for the tensors' device. docs/engine.md explains why there are several.

    terms           arguments and results of a merge: Term (one expert), Rule, PassOptions, PassResult
    dispatch        merge, sign_balance, keep_norm: the entry, for tensors on any device
    reference       the operators on whole tensors, in a few plain operations: their definition
    blocks          the same on the CPU, fused over blocks that fit in the cache
    triton_kernels  the same as one GPU kernel
    plain_torch     the same in plain torch, for devices without Triton
    masks           DARE's keep masks, a pure function of (seed, mask_id, tensor, index)
    top_k           the k-th largest magnitude, exactly, from histograms of its bits
    cuts            the same for task vectors that are never held whole in memory
    sweep_cuts      cuts computed once for every density of a sweep
    finite          checks for NaN and Inf
    parallel        runs a function over blocks of a flat tensor, on torch's number of threads
"""
