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
    "model.vocabulary": Entry(
        "error",
        "Models have vocabularies of different sizes and the recipe does not align them.",
        "Add a tokenizer block (tokenizer: {source: base}) to the recipe.",
    ),
    "recipe.chat-template": Entry(
        "error",
        "`chat_template:` is neither `auto`, nor the name of a template of mergekit's, nor valid Jinja.",
        "Correct the template.",
    ),
    "recipe.invalid": Entry(
        "error",
        "The recipe has an unknown key, method or parameter, or a value that is not allowed.",
        "Correct the line that the message names.",
    ),
    "recipe.same-model": Entry(
        "error",
        "Two references are the same model.",
        "List the model once.",
    ),
    "resources.estimate": Entry(
        "note",
        "What merging and evaluating take of memory and disk, and what is free on this machine.",
        "Compare with the machine that will do the work.",
    ),
    "resources.memory": Entry(
        "warning",
        "Merging or evaluating takes more memory than is free.",
        "Use a larger machine, or merge with mergekit-yaml, which holds few tensors at a time.",
    ),
    "study.invalid": Entry(
        "error",
        "The study file has an unknown key, or a value that is not allowed.",
        "Correct the line that the message names.",
    ),
    "study.license": Entry(
        "note",
        "The models' licenses forbid sharing a merge, contradict each other, or are unknown.",
        "Read them before you share a merge: `mergekit-finance card` lists what each requires.",
    ),
    "task.context": Entry(
        "error",
        "A task generates as many tokens as a model's context holds, which leaves no room for a prompt.",
        "Set a smaller max_gen_toks, or leave the task out.",
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
