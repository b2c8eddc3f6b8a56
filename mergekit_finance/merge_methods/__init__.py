"""The merge methods that mergekit-yaml calls: `cpt_task_arithmetic`, `cpt_ties`, `cpt_dare_ties`.

    all_methods             the three methods
    task_arithmetic, ties, dare_ties
                            one method each: formula, source, and how the engine computes it
    method                  what they share: semantics, rounding, choice of implementation
    parameters              their parameters, and those of one call
    planner_hook            runs the checks below inside mergekit's planner, before anything is written
    check_recipe            the parameters of the recipe, and where they are written
    check_foreign           recipes with other methods: number of models, required parameters
    check_tokens            the recipe's `tokenizer:` block
    check_models            what `mergekit-finance check` finds about the models
    check_output            the output folder and the recipe's text, before anything is written
    to_disk                 the steps of the planner hook for merges to disk
    side_files              config, tokenizer and chat template of a merged model
    planned_inputs          the inputs of a planned merge, one output tensor at a time
    check_inputs            whether the checkpoints fit together and hold finite numbers
    whole_vector_thresholds thresholds of whole task vectors, for TIES in paper semantics
    similarity_file         `similarity: true` in a recipe

mergekit is imported here, before any of these modules: the start-up hook registers our methods as soon as
`mergekit.merge_methods` is complete, and could otherwise see one of them half imported.
"""

import mergekit.merge_methods  # noqa: F401
