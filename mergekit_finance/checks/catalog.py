"""Every finding that a check can report: its id, its level and what it means. docs/checks.md repeats it."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Entry:
    """A kind of finding.

    Attributes:
        level: error: the command would fail or lose something. warning: it would work, but probably not as
            meant. note: worth knowing.
        meaning: what was found, in one sentence.
        remedy: what to do about it, in one sentence.
    """

    level: Level
    meaning: str
    remedy: str


CATALOG: dict[str, Entry] = {
    "file.repeated-key": Entry(
        "error",
        "A key appears twice in one block of a recipe or study file; YAML would keep the last value.",
        "Remove one of the two.",
    ),
    "file.unreadable": Entry(
        "error",
        "A recipe or study file is missing, not a regular file, not YAML in UTF-8, or larger than 1 MB, "
        "100,000 values or 100 levels.",
        "Correct the path, or the line that the message names.",
    ),
    "merge.failed": Entry(
        "error",
        "mergekit refuses to plan or run the merge.",
        "Correct what the message names.",
    ),
    "merge.incomplete": Entry(
        "error",
        "The merged tensors do not fill the model class of the base's config.",
        "Check that config.json belongs to the weights, and that transformers loads every model.",
    ),
    "merge.not-finite": Entry(
        "error",
        "A value of the merged model is NaN or infinite.",
        "Lower lambda or the weights, or look for NaN in the models.",
    ),
    "model.adapter": Entry(
        "error",
        "A reference names a LoRA adapter (`model+adapter`), and there is no folder to merge it in.",
        "Merge it first: mergekit-yaml with merge_method: passthrough, models: [{model: model+adapter}] and "
        "--lora-merge-cache DIR; then name the result.",
    ),
    "model.architecture": Entry(
        "error",
        "Models differ in architecture or in a size of their layers.",
        "Merge only models that were trained from one base.",
    ),
    "model.broken": Entry(
        "error",
        "A file of the model is truncated, malformed, or not a regular file.",
        "Copy or fetch it again.",
    ),
    "model.buffers": Entry(
        "note",
        "A file stores buffers that no model class loads, such as rotary frequencies.",
        "Nothing: they are computed from the config, and the merge leaves them out.",
    ),
    "model.chat-template": Entry(
        "error",
        "A chat template of the model is not valid Jinja.",
        "Correct it, or remove it.",
    ),
    "model.config": Entry(
        "warning",
        "An expert has other settings than the base, such as rms_norm_eps, hidden_act or eos_token_id.",
        "Merge only if the difference is intended: the merged model keeps the base's settings.",
    ),
    "model.config-shape": Entry(
        "error",
        "A tensor has another shape than the config of its model declares.",
        "Copy or fetch the model again: config.json and the weights are not of one model.",
    ),
    "model.dtype": Entry(
        "warning",
        "Weights are stored in another dtype than the config names, in which they are loaded.",
        "Correct `dtype` in config.json, or write dtype and out_dtype into the recipe.",
    ),
    "model.equals-base": Entry(
        "note",
        "An expert equals the base in every value that was looked at.",
        "Check that the reference is right: merging it adds nothing.",
    ),
    "model.far-from-base": Entry(
        "warning",
        "An expert is so far from the base that it was probably not trained from it.",
        "Name the base that the expert was trained from.",
    ),
    "model.generation-config": Entry(
        "error",
        "A token id in generation_config.json is not a number.",
        "Write a whole number.",
    ),
    "model.head-ignored": Entry(
        "error",
        "A model has output embeddings of its own, and a config ties them to the input embeddings.",
        "Correct tie_word_embeddings in config.json, or merge models that agree on it.",
    ),
    "model.layers": Entry(
        "error",
        "The config has another number of layers than the weight files.",
        "Correct num_hidden_layers in config.json, or copy or fetch the model again.",
    ),
    "model.missing": Entry(
        "error",
        "A reference is neither a folder with a checkpoint nor a Hub id, or a file of it is missing.",
        "Correct the reference, or copy the model again.",
    ),
    "model.not-finite": Entry(
        "error",
        "A weight is NaN or infinite.",
        "Use another checkpoint: every merge with it is broken.",
    ),
    "model.not-floats": Entry(
        "error",
        "A tensor is stored as integers or in 8 bits or fewer, as in quantized models.",
        "Name the model in bfloat16, float16 or float32.",
    ),
    "model.rope": Entry(
        "warning",
        "An expert has other rotary position settings than the base.",
        "Merge only if the difference is intended: the merged model keeps the base's settings.",
    ),
    "model.shape": Entry(
        "error",
        "A tensor has different shapes in two models.",
        "Merge only models of one shape.",
    ),
    "model.tensor-lost": Entry(
        "error",
        "A model has tensors that a merge would leave out without a word, such as biases or extra heads.",
        "Merge only models with the same tensors, of an architecture whose tensors mergekit lists.",
    ),
    "model.tensor-missing": Entry(
        "error",
        "A model lacks a tensor that its architecture or the base has.",
        "Copy or fetch it again, or merge only models with the same tensors.",
    ),
    "model.token-ids": Entry(
        "warning",
        "An expert gives tokens other ids than the base.",
        "In a recipe, add a tokenizer block (tokenizer: {source: base}), which aligns the rows of tokens.",
    ),
    "model.tokenizer": Entry(
        "error",
        "The tokenizer of a model is missing or cannot be loaded.",
        "Copy or fetch the tokenizer files again.",
    ),
    "model.two-sets": Entry(
        "error",
        "model.safetensors lies beside an index of other files: transformers reads it, mergekit reads those.",
        "Delete the set that is not meant.",
    ),
    "model.unsafe": Entry(
        "error",
        "A `.bin` file holds something that can run code when it is loaded. It was not loaded.",
        "Do not use this file.",
    ),
    "model.unseen": Entry(
        "note",
        "A part of the model could not be looked at, because its files are not on this machine.",
        "Run check again where they are, or let the command fetch them.",
    ),
    "model.unsupported": Entry(
        "error",
        "transformers has no causal language model for the model's config.",
        "Merge models of an architecture that AutoModelForCausalLM loads.",
    ),
    "model.vocabulary": Entry(
        "error",
        "Models have vocabularies of different sizes and the recipe does not align them.",
        "Add a tokenizer block (tokenizer: {source: base}) to the recipe.",
    ),
    "output.holds-input": Entry(
        "error",
        "The output directory holds a model, recipe or study that is read.",
        "Choose another output directory.",
    ),
    "output.in-input": Entry(
        "error",
        "The output lies in the folder of a model that is read.",
        "Choose another output directory.",
    ),
    "output.is-input": Entry(
        "error",
        "The output is the folder, or a file, of a model that is read.",
        "Choose another output directory.",
    ),
    "output.not-a-directory": Entry(
        "error",
        "The output directory, or a folder in it, exists and is not a directory.",
        "Choose another output directory.",
    ),
    "output.not-writable": Entry(
        "error",
        "The output cannot be written.",
        "Choose another output directory, or change its permissions.",
    ),
    "output.overwrites-recipe": Entry(
        "error",
        "A merge would overwrite its own recipe.",
        "Choose another output directory, or move the recipe.",
    ),
    "output.reserved-character": Entry(
        "error",
        "With `chain: best`, the path of the output directory has @ or +, which mergekit reads as a revision "
        "or an adapter.",
        "Choose another output directory.",
    ),
    "output.shared-file": Entry(
        "error",
        "A file in the output directory is, through a link, also a file of a model that is read.",
        "Choose another output directory.",
    ),
    "recipe.chat-template": Entry(
        "error",
        "`chat_template:` is neither `auto`, nor the name of a template of mergekit's, nor valid Jinja.",
        "Correct the template.",
    ),
    "recipe.dtype": Entry(
        "error",
        "`dtype` or `out_dtype` is not a dtype of weights.",
        "Write float32, bfloat16, float16 or float64.",
    ),
    "recipe.invalid": Entry(
        "error",
        "A value of the recipe is not allowed.",
        "Correct the line that the message names.",
    ),
    "recipe.override": Entry(
        "error",
        "A value that is set from the command line (`set.<path>`) has no such place in the recipe.",
        "Correct the path.",
    ),
    "recipe.same-model": Entry(
        "error",
        "Two references are the same model.",
        "List the model once.",
    ),
    "recipe.unknown-key": Entry(
        "error",
        "A key or parameter of the recipe is read neither by mergekit nor by this package.",
        "Correct its spelling; the message names the nearest valid one.",
    ),
    "recipe.unknown-method": Entry(
        "error",
        "There is no such merge method.",
        "Correct its spelling; the message names the nearest one.",
    ),
    "resources.disk": Entry(
        "warning",
        "Merged checkpoints, merged adapters or stored answers take more disk than is free.",
        "Choose an output directory on a larger disk, or set out_dtype: bfloat16.",
    ),
    "resources.estimate": Entry(
        "note",
        "What merging and evaluating take of memory and disk, and what is free on this machine.",
        "Compare with the machine that will do the work.",
    ),
    "resources.gpu-memory": Entry(
        "warning",
        "Evaluating a merge takes more GPU memory than is free.",
        "Evaluate with a smaller batch, in bfloat16, or on another device.",
    ),
    "resources.memory": Entry(
        "warning",
        "Merging or evaluating takes more memory than is free.",
        "Use a larger machine, or merge with mergekit-yaml, which holds few tensors at a time.",
    ),
    "study.invalid": Entry(
        "error",
        "A value of the study file is not allowed.",
        "Correct the line that the message names.",
    ),
    "study.license": Entry(
        "note",
        "The models' licenses forbid sharing a merge, contradict each other, or are unknown.",
        "Read them before you share a merge: `mergekit-finance card` lists what each requires.",
    ),
    "study.unknown-key": Entry(
        "error",
        "The study file has an unknown key.",
        "Correct its spelling; the message names the nearest valid one.",
    ),
    "task.context": Entry(
        "error",
        "A task generates as many tokens as a model's context holds, which leaves no room for a prompt.",
        "Set a smaller max_gen_toks, or leave the task out.",
    ),
    "task.few-clusters": Entry(
        "error",
        "A task has too few independent items for an interval.",
        "Raise `limit`, or change `selection`.",
    ),
    "task.no-score": Entry(
        "error",
        "A task reports no `score`, so that Gain is not defined for it.",
        "Use a finance_bench task, or give the task a `score` metric.",
    ),
    "task.none": Entry(
        "error",
        "There is no task to evaluate.",
        "Name at least one.",
    ),
    "task.rows": Entry(
        "error",
        "The rows of a task are missing, altered or cannot be fetched.",
        "Fetch them with `mergekit-finance data pull`, or name another source.",
    ),
    "task.twice": Entry(
        "error",
        "A task is named twice, alone and as part of a group.",
        "Name the task or its group.",
    ),
    "task.unknown": Entry(
        "error",
        "There is no such task.",
        "Correct its name; the message names the nearest one.",
    ),
}


def markdown_table(level: Level) -> str:
    """Return the rows of docs/checks.md for one level."""
    rows = [
        f"| `{name}` | {entry.meaning} | {entry.remedy} |"
        for name, entry in sorted(CATALOG.items())
        if entry.level == level
    ]
    return "\n".join(["| id | meaning | remedy |", "|---|---|---|", *rows])


if __name__ == "__main__":
    for shown in LEVELS:
        print(f"\n## {shown.capitalize()}s\n\n{markdown_table(shown)}")
