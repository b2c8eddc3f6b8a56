"""Distances between models and between their task vectors, measured in one pass over the files.

    from mergekit_finance.similarity.compute import compute_similarity
    compute_similarity("base", ["finance", "math"])   -> measured.Similarity

`compute` reads `checkpoint_files` into the sums of `measures`; `entries` computes the result from them, and
`table` writes and prints it.

For base theta_0 and models theta_1 ... theta_k, tau_i = theta_i - theta_0, and for any set of elements p
(a tensor, a layer, a module kind, the whole model):

    l2              sqrt(sum_p (theta_ip - theta_jp)^2); task vectors have the same, since the base cancels
    cosine          sum_p x_p y_p / sqrt(sum_p x_p^2 * sum_p y_p^2), of weights and of task vectors;
                    null where one of the two is zero
    relative_norm   |tau_i| / |theta_0|
    equal           share of elements in which two models have the same number (+0 equals -0)
    both_moved      share of elements in which two task vectors are both non-zero
    sign_conflicts  among those, the share in which the signs differ; null if there are none
    quantiles       of |tau_i|, zeros included: the smallest magnitude such that at least a share q is not
                    larger, rounded down to 8 significant bits (the bin of a histogram over the upper 16
                    bits of float32: at most 0.8 % too low; 0 below 2**-133)

Sums are float64; differences of bfloat16 or float16 weights are exact. The dict, format 1:

    format, base, models     1, and the references as passed to the function
    everything               false if only l2, cosine and norms were measured; the others are then absent
    skipped                  tensors that are not floating point, and buffers that no model class loads
    total                    ENTRY
    layers, modules          {name: ENTRY}; modules are q_proj, ..., norms, embeddings, lm_head
    tensors                  {name: {shape, layer, module} | ENTRY}

    ENTRY   elements, norms {model: |theta|},
            pairs [{a, b, l2, cosine, equal}], the base included,
            task_vectors {model: {norm, relative_norm, quantiles {q: |tau|}}},
            task_vector_pairs [{a, b, cosine, both_moved, sign_conflicts}]

If all models tie the output embeddings to the input embeddings, they are counted once. If only some models
tie them, the input embeddings of these models are also compared as output embeddings. arXiv 2511.02451, Fig.
5, shows which measures predict the gain of a merge.
"""
