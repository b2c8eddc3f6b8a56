"""The merge engine: kernels on cache-sized blocks, exact selection, masks, and sweeps over live models.

    masks       DARE's keep masks, a pure function of (seed, mask_id, tensor, index)
    select      the exact k-th magnitude from histograms of its bits
    parallel    blocks of tensors on all threads that torch may use
    blocks      the arithmetic of the operators, fused over blocks of flat tensors (CPU)
    ranking     histograms and cuts of task vectors that are never held whole
    fused       the same arithmetic as one GPU kernel (Triton), or in plain torch where there is none
    sweep       cuts ranked once for every density of a sweep
    session     MergeSession: constituents opened once, any number of points written into one live model
    opening     a recipe, planned and checked by mergekit, and its inputs as mapped tensors
    overriding  the values of a point that differ from the recipe's

Nothing but the last three imports mergekit or transformers: the kernels run wherever torch does.
"""
