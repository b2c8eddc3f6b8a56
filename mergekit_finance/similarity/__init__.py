"""Distances between models and between their task vectors, measured in one pass over the files.

    from mergekit_finance.similarity.compute import compute_similarity
    compute_similarity("base", ["finance", "math"])   -> dict; as `mergekit-finance similarity` writes it

For base theta_0 and models theta_1 ... theta_k, tau_i = theta_i - theta_0, and for any set of elements p
(a tensor, a layer, a module kind, the whole model):

    l2              sqrt(sum_p (theta_ip - theta_jp)^2); task vectors have the same, since the base cancels
    cosine          sum_p x_p y_p / sqrt(sum_p x_p^2 * sum_p y_p^2), of weights and of task vectors;
                    null where one of the two is zero
    relative_norm   |tau_i| / |theta_0|
    equal           share of elements in which two models hold the same number (+0 equals -0)
    both_moved      share of elements in which two task vectors are both non-zero
    sign_conflicts  among those, the share in which their signs differ; null where there are none
    quantiles       of |tau_i|, zeros included: the smallest magnitude that at least a share q does not
                    exceed, rounded down to 8 significant bits (the bin of a histogram over the upper 16
                    bits of float32: at most 0.8 % low; below 2**-133 it is 0)

Sums are float64; differences of bfloat16 or float16 weights are exact. The dict, format 1:

    format, base, models     1, and the references as given
    everything               false where only l2, cosine and norms were asked for; the others are absent
    skipped                  tensors that are not floating point, and buffers that no model class loads
    total                    ENTRY
    layers, modules          {name: ENTRY}; modules are q_proj, ..., norms, embeddings, lm_head
    tensors                  {name: {shape, layer, module} | ENTRY}

    ENTRY   elements, norms {model: |theta|},
            pairs [{a, b, l2, cosine, equal}], the base included,
            task_vectors {model: {norm, relative_norm, quantiles {q: |tau|}}},
            task_vector_pairs [{a, b, cosine, both_moved, sign_conflicts}]

Output embeddings that all models tie to the input embeddings count once; where only some models tie them,
their input embeddings are compared. Which measures predict the gain of a merge: arXiv 2511.02451, Fig. 5.
"""
