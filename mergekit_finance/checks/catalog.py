"""Every finding of the checks: its id, level, meaning and remedy. docs/checks.md shows the same list."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class CatalogEntry:
    """A kind of finding.

    Attributes:
        level: error: the command would fail, or lose or ignore data. warning: it would succeed, but probably
            with a result that the user does not intend. note: information only.
        meaning: what the check found.
        remedy: what the user can do about it.
    """

    level: Level
    meaning: str
    remedy: str


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
    "model.adapter": CatalogEntry(
        "error",
        "A reference names a LoRA adapter (`model+adapter`), and no folder is set in which to merge it.",
        "Merge it first: mergekit-yaml with merge_method: passthrough, models: [{model: model+adapter}] and "
        "--lora-merge-cache DIR. Then name the result in the recipe.",
    ),
    "model.architecture": CatalogEntry(
        "error",
        "Models differ in architecture or in layer sizes.",
        "Merge only models that were trained from the same base.",
    ),
    "model.broken": CatalogEntry(
        "error",
        "A file of the model is truncated, malformed, or not a regular file.",
        "Copy or fetch it again.",
    ),
    "model.buffers": CatalogEntry(
        "note",
        "A file stores buffers that no model class loads, such as rotary frequencies.",
        "No action needed: the merge leaves them out, and the model computes them from its config.",
    ),
    "model.chat-template": CatalogEntry(
        "error",
        "A chat template of the model is not valid Jinja, or fails on a prompt.",
        "Correct it, or remove it.",
    ),
    "model.chat-system": CatalogEntry(
        "warning",
        "The chat template of a model refuses system messages, so lm-eval leaves the system instruction out "
        "of this model's prompts, and the task's description.",
        "Leave system_instruction out, or use models whose templates accept it.",
    ),
    "model.chat-templates-differ": CatalogEntry(
        "warning",
        "Prompts are rendered by chat templates, and the models that are compared have different ones.",
        "Give all models one chat_template.jinja if scores should compare the weights alone.",
    ),
    "model.config": CatalogEntry(
        "warning",
        "An expert and the base differ in settings such as rms_norm_eps, hidden_act or eos_token_id.",
        "Merge only if the difference is intended: the merged model keeps the base's settings.",
    ),
    "model.config-shape": CatalogEntry(
        "error",
        "The shape of a tensor differs from the shape in the model's config, or the config lacks a size.",
        "Copy or fetch the model again: config.json and the weights belong to different models.",
    ),
    "model.dtype": CatalogEntry(
        "warning",
        "Weights are stored in one dtype, but the config names another one, which is used for loading.",
        "Correct `dtype` in config.json, or write dtype and out_dtype into the recipe.",
    ),
    "model.equals-base": CatalogEntry(
        "note",
        "An expert equals the base in every value that was compared.",
        "Check that the reference is right. Merging a copy of the base has no effect.",
    ),
    "model.equals-expert": CatalogEntry(
        "warning",
        "Two experts are equal in every value that was compared, so the same expert would be merged twice.",
        "Check that the references are right, or list one of the two.",
    ),
    "model.far-from-base": CatalogEntry(
        "warning",
        "The weights of an expert differ so much from the base that it was probably not trained from it.",
        "Name the base that the expert was trained from.",
    ),
    "model.generation-config": CatalogEntry(
        "error",
        "transformers refuses a value in generation_config.json when it loads the file or generates.",
        "Correct the value, or remove the key.",
    ),
    "model.generation-unused": CatalogEntry(
        "note",
        "generation_config.json has sampling settings, such as temperature, without `do_sample: true`.",
        "No action needed: they have no effect. transformers may refuse to save them after a change of the "
        "config; write `do_sample: true`, or remove them.",
    ),
    "model.layers": CatalogEntry(
        "error",
        "The number of layers in the config differs from that in the weight files.",
        "Correct num_hidden_layers in config.json, or copy or fetch the model again.",
    ),
    "model.own-head": CatalogEntry(
        "warning",
        "A model stores output embeddings that differ from its input embeddings, but a config ties the two. "
        "transformers 5 and this package use both. Programs that follow the config, such as vLLM, use the "
        "input embeddings for both.",
        "Write `tie_word_embeddings: false` into config.json of the model and of the base, whose config the "
        "merged model gets.",
    ),
    "model.license": CatalogEntry(
        "note",
        "Licenses that the models' cards or the study file name forbid sharing a merge, contradict each "
        "other, or are not known to this package.",
        "Read the licenses before you share a merge. `mergekit-finance card` lists what each requires.",
    ),
    "model.missing": CatalogEntry(
        "error",
        "A reference is neither a folder with a checkpoint nor a Hub id, or a file of the model is missing.",
        "Correct the reference, or copy the model again.",
    ),
    "model.no-chat-template": CatalogEntry(
        "error",
        "Prompts are to be rendered by chat templates, and a model has none, or none of the name.",
        "Copy the chat_template.jinja of another model into its folder, write `chat_template:` into a "
        "recipe, or leave apply_chat_template out.",
    ),
    "model.no-special-tokens": CatalogEntry(
        "error",
        "A tokenizer has neither a bos nor an eos token. lm-eval needs one of them to compare options.",
        "Set `eos_token` or `bos_token` in the model's tokenizer_config.json.",
    ),
    "model.not-finite": CatalogEntry(
        "error",
        "A weight is NaN or infinite.",
        "Use another checkpoint: a merge with this one has NaN or infinite weights, too.",
    ),
    "model.not-floats": CatalogEntry(
        "error",
        "A tensor is stored as integers or in 8 bits or fewer in every model: it is a buffer, or the models "
        "are quantized.",
        "Use copies of the models in bfloat16, float16 or float32. Remove a buffer that is not needed.",
    ),
    "model.quantized": CatalogEntry(
        "error",
        "A tensor is stored as integers or in 8 bits or fewer, and as floats in another model, or "
        "config.json says that the model is quantized.",
        "Use a copy of the model in bfloat16, float16 or float32.",
    ),
    "model.repeated-key": CatalogEntry(
        "warning",
        "A key appears twice, with the same value, in a JSON file of the model or in the header of a weight "
        "file. Two different values are an error (`model.broken`), except in the vocabulary of a tokenizer.",
        "Remove one of the two. Check that the file is complete.",
    ),
    "model.rope": CatalogEntry(
        "warning",
        "An expert and the base differ in their rotary position embeddings (RoPE) settings.",
        "Merge only if the difference is intended: the merged model keeps the base's settings.",
    ),
    "model.shape": CatalogEntry(
        "error",
        "A tensor has different shapes in two models.",
        "Merge only models whose tensors have the same shapes.",
    ),
    "model.tensor-lost": CatalogEntry(
        "error",
        "A model has tensors that a merge would silently leave out, such as biases or extra heads.",
        "Merge only models with the same tensors, of an architecture that mergekit supports.",
    ),
    "model.tensor-missing": CatalogEntry(
        "error",
        "A model lacks a tensor that its architecture or the base has.",
        "Copy or fetch it again, or merge only models with the same tensors.",
    ),
    "model.token-ids": CatalogEntry(
        "warning",
        "Some tokens have different ids in an expert and in the base.",
        "Add a tokenizer block (tokenizer: {source: base}) to the recipe. It aligns the embeddings by token.",
    ),
    "model.tokenizer": CatalogEntry(
        "error",
        "The tokenizer of a model is missing or cannot be loaded.",
        "Copy or fetch the tokenizer files again.",
    ),
    "model.two-sets": CatalogEntry(
        "error",
        "The folder has model.safetensors and also an index of other weight files. transformers reads "
        "model.safetensors, mergekit the files of the index.",
        "Delete the weight files that you do not want to use.",
    ),
    "model.unsafe": CatalogEntry(
        "error",
        "A `.bin` file contains pickled objects that can run code when loaded. It was not loaded.",
        "Do not use this file.",
    ),
    "model.token-outside": CatalogEntry(
        "warning",
        "A special token, or a token of the tokenizer, has an id for which the model has no embedding. "
        "Evaluation fails if the token is used. It is an error if transformers cannot load such a model.",
        "Correct the id or the token, or resize the embeddings of the model.",
    ),
    "model.unseen": CatalogEntry(
        "note",
        "A part of the model was not checked, because its files are not on this machine.",
        "Run check on a machine that has the files, or start the command, which downloads them.",
    ),
    "model.unsupported": CatalogEntry(
        "error",
        "transformers has no causal language model for the model's config, or not its activation or "
        "rope_type.",
        "Merge models of an architecture that AutoModelForCausalLM loads.",
    ),
    "model.vocabulary": CatalogEntry(
        "error",
        "Models have vocabularies of different sizes, and the recipe does not align them.",
        "Add a tokenizer block (tokenizer: {source: base}) to the recipe.",
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
        "The output is the folder, or a file, of a model that the command reads.",
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
    "recipe.dtype": CatalogEntry(
        "error",
        "`dtype` or `out_dtype` is not a dtype of weights.",
        "Write float32, bfloat16, float16 or float64.",
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
        "The folder of your own tasks does not exist.",
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
