"""Every finding of the checks: its id, level, meaning and remedy. docs/checks.md shows the same list."""

from mergekit_finance.checks.model_catalog import LEVELS, MODEL_CATALOG, CatalogEntry, Level

CATALOG: dict[str, CatalogEntry] = {
    "file.repeated-key": CatalogEntry(
        "error",
        "A key appears twice in one block of a recipe or study file. YAML would keep the last value only.",
        "Remove one of the two lines.",
    ),
    "file.unreadable": CatalogEntry(
        "error",
        "A recipe or study file is missing, not a regular file, not YAML in UTF-8, or larger than 1 MB, "
        "100,000 values or 100 levels.",
        "Correct the path, or the line that the message names.",
    ),
    "merge.failed": CatalogEntry(
        "error",
        "mergekit reported an error while it planned or ran the merge.",
        "Correct what the message names.",
    ),
    "merge.incomplete": CatalogEntry(
        "error",
        "The merge does not produce every tensor that the model class in the base's config needs.",
        "Check that config.json belongs to the weights, and that transformers loads every model.",
    ),
    "merge.not-finite": CatalogEntry(
        "error",
        "A value of the merged model is NaN or infinite.",
        "Lower lambda or the weights, or look for NaN in the models.",
    ),
    **MODEL_CATALOG,
    "output.ending": CatalogEntry(
        "error",
        "The name of the output file ends like a format that the command does not write, such as .xlsx.",
        "Choose a name with one of the endings that the message lists.",
    ),
    "output.foreign-file": CatalogEntry(
        "error",
        "The output directory has a file with the name of a result that no study wrote, or that a newer "
        "version of this package wrote, or it holds a model card.",
        "Choose another output directory.",
    ),
    "output.holds-input": CatalogEntry(
        "error",
        "The output directory contains a model, recipe or study that the command reads.",
        "Choose another output directory.",
    ),
    "output.in-input": CatalogEntry(
        "error",
        "The output is inside the folder of a model that the command reads.",
        "Choose another output directory.",
    ),
    "output.is-input": CatalogEntry(
        "error",
        "The output is the folder, or a file, of a model that the command reads, or a file of another model.",
        "Choose another output directory.",
    ),
    "output.not-a-directory": CatalogEntry(
        "error",
        "The output path, or a path in it where a directory is needed, exists and is not a directory.",
        "Choose another output directory.",
    ),
    "output.not-writable": CatalogEntry(
        "error",
        "The output cannot be written.",
        "Choose another output directory, or change its permissions.",
    ),
    "output.overwrites-recipe": CatalogEntry(
        "error",
        "A merge would overwrite its own recipe.",
        "Choose another output directory, or move the recipe.",
    ),
    "output.reserved-character": CatalogEntry(
        "error",
        "With `chain: best`, the path of the output directory contains @ or +. mergekit reads these as the "
        "start of a revision or an adapter.",
        "Choose another output directory.",
    ),
    "output.shared-file": CatalogEntry(
        "error",
        "A file in the output directory is linked to a file of a model that the command reads.",
        "Choose another output directory.",
    ),
    "recipe.chat-template": CatalogEntry(
        "error",
        "`chat_template:` is neither `auto`, nor the name of one of mergekit's templates, nor valid Jinja.",
        "Correct the template.",
    ),
    "recipe.density": CatalogEntry(
        "error",
        "A density keeps none of the elements of a task vector, so the merge would be the base.",
        "Write a larger density.",
    ),
    "recipe.dtype": CatalogEntry(
        "error",
        "`dtype` or `out_dtype` is not a dtype of weights.",
        "Write float32, bfloat16, float16 or float64.",
    ),
    "recipe.filter-unused": CatalogEntry(
        "warning",
        "A filter of a parameter matches no tensor of the base, so that its value is never used.",
        "Correct it: a filter is a part of the names of tensors, such as mlp or self_attn.",
    ),
    "recipe.invalid": CatalogEntry(
        "error",
        "A value of the recipe is not allowed.",
        "Correct the line that the message names.",
    ),
    "recipe.out-dtype": CatalogEntry(
        "warning",
        "Without out_dtype the merge is stored in a wider dtype than the config of its base has.",
        "Write out_dtype into the recipe.",
    ),
    "recipe.override": CatalogEntry(
        "error",
        "The path of a value that is set on the command line (`set.<path>`) does not exist in the recipe.",
        "Correct the path.",
    ),
    "recipe.same-model": CatalogEntry(
        "error",
        "The same model is listed twice.",
        "List the model once.",
    ),
    "recipe.unknown-key": CatalogEntry(
        "error",
        "The recipe has a key or parameter that neither mergekit nor this package supports.",
        "Correct its spelling; the message names the nearest valid one.",
    ),
    "recipe.unknown-method": CatalogEntry(
        "error",
        "There is no such merge method.",
        "Correct its spelling; the message names the nearest one.",
    ),
    "resources.disk": CatalogEntry(
        "warning",
        "Merged checkpoints, merged adapters or stored answers need more disk space than is free.",
        "Choose an output directory on a larger disk, or set out_dtype: bfloat16.",
    ),
    "resources.estimate": CatalogEntry(
        "note",
        "The estimated memory and disk space for merging and evaluating, and what is free on this machine.",
        "Compare the estimate with the machine on which you will run the job.",
    ),
    "resources.gpu-memory": CatalogEntry(
        "warning",
        "Evaluating a merge needs more GPU memory than is free.",
        "Evaluate with a smaller batch, in bfloat16, or on another device.",
    ),
    "resources.memory": CatalogEntry(
        "warning",
        "Merging or evaluating needs more memory than is free.",
        "Use a machine with more memory, or merge with mergekit-yaml, which loads a few tensors at a time.",
    ),
    "resources.parallelize": CatalogEntry(
        "note",
        "How the weights of one model are spread over the GPUs; an error where they do not fit.",
        "Use more GPUs, GPUs with more free memory, or a smaller dtype, if batches need more room.",
    ),
    "study.invalid": CatalogEntry(
        "error",
        "A value of the study file is not allowed.",
        "Correct the line that the message names.",
    ),
    "study.skipped-stage": CatalogEntry(
        "note",
        "A merge method of a study does not merge the number of models of one of its stages, and is not run "
        "there.",
        "No action needed, unless the method should be compared in that stage.",
    ),
    "study.unknown-key": CatalogEntry(
        "error",
        "The study file has an unknown key.",
        "Correct its spelling; the message names the nearest valid one.",
    ),
    "task.broken": CatalogEntry(
        "error",
        "A task, or a function that its file names, cannot be loaded.",
        "Correct the file or the function that the message names.",
    ),
    "task.context": CatalogEntry(
        "error",
        "A task may generate as many tokens as the model's context holds, which leaves no room for a prompt.",
        "Set a smaller max_gen_toks, or leave the task out.",
    ),
    "task.few-clusters": CatalogEntry(
        "error",
        "A task has too few independent items for a confidence interval.",
        "Raise `limit`, or change `selection`.",
    ),
    "task.include-path": CatalogEntry(
        "error",
        "The folder of your own tasks does not exist, or has no task files.",
        "Name a folder of lm-eval task files.",
    ),
    "task.no-items": CatalogEntry(
        "error",
        "Merges are selected by scores of single items in [0, 1], which a task, or every task, lacks.",
        "List the task under `retention` or `probes`, name another metric, or leave out `chain: best` and "
        "`search`.",
    ),
    "task.no-score": CatalogEntry(
        "error",
        "A task has no metric or no filter, or the value of its metric is out of range.",
        "Name another metric of the task, or use another task.",
    ),
    "task.none": CatalogEntry(
        "error",
        "There is no task to evaluate.",
        "Name at least one task.",
    ),
    "task.rows": CatalogEntry(
        "error",
        "The rows of a task are missing, altered or cannot be fetched.",
        "Fetch them with `mergekit-finance data pull`, or name another source.",
    ),
    "task.twice": CatalogEntry(
        "error",
        "A task is named twice: alone and as part of a group, in two files, or like a built-in task.",
        "Name either the task or its group; rename your own task.",
    ),
    "task.unseen": CatalogEntry(
        "note",
        "Only lm-eval can say which tasks and metrics a name stands for, because it is a tag of lm-eval or a "
        "task that is written in Python. `check` does not load lm-eval, so it did not compare metrics, "
        "filters, `named` and `select` with these tasks.",
        "No action needed: `mergekit-finance study plan` loads the tasks and makes the rest of the checks.",
    ),
    "task.unknown-filter": CatalogEntry(
        "error",
        "A task has no filter of the name in study.yml.",
        "Use one that the message lists.",
    ),
    "task.unknown-metric": CatalogEntry(
        "error",
        "A task has no metric of the name in study.yml.",
        "Use one that the message lists.",
    ),
    "task.unknown": CatalogEntry(
        "error",
        "There is no such task.",
        "Correct its name; the message names the nearest one.",
    ),
}


def catalog_table(level: Level) -> str:
    """Return the rows of docs/checks.md for one level."""
    rows = [
        f"| `{name}` | {entry.meaning} | {entry.remedy} |"
        for name, entry in sorted(CATALOG.items())
        if entry.level == level
    ]
    return "\n".join(["| id | meaning | remedy |", "|---|---|---|", *rows])


if __name__ == "__main__":
    for shown in LEVELS:
        print(f"\n## {shown.capitalize()}s\n\n{catalog_table(shown)}")
