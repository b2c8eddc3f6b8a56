"""The findings on models in the catalog of checks (`checks.catalog`), and what an entry of it says."""

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


MODEL_CATALOG: dict[str, CatalogEntry] = {
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
        "A chat template of the model is not valid Jinja. `study` and `run` also find those that fail on a "
        "prompt or leave out what the user says.",
        "Correct it, or remove it.",
    ),
    "model.chat-system": CatalogEntry(
        "warning",
        "The chat template of a model refuses system messages, so lm-eval leaves the system instruction out "
        "of this model's prompts, and the task's description.",
        "Leave system_instruction out, or use models whose templates accept it.",
    ),
    "model.chat-template-name": CatalogEntry(
        "warning",
        "apply_chat_template names a template, and a model has only one, without a name. It is used whatever "
        "its purpose, as in lm-eval. `study` and `run` say so.",
        "Write `apply_chat_template: true`, or use models that have a template of this name.",
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
    "model.config-switch": CatalogEntry(
        "warning",
        "A switch in config.json is on, and the key that it needs is missing or null, such as "
        "use_sliding_window without sliding_window. The switch has no effect, or a default is used.",
        "Write the missing key into config.json, or turn the switch off.",
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
    "model.generation-unsupported": CatalogEntry(
        "warning",
        "generation_config.json has a setting with which a model alone does not generate: transformers needs "
        "a tokenizer, another model or code of the Hub for it, or returns what lm-eval cannot read. It is an "
        "error for a model that is evaluated.",
        "Remove the key from generation_config.json.",
    ),
    "model.generation-length": CatalogEntry(
        "warning",
        "generation_config.json has max_new_tokens or max_time. transformers ends every answer by it and "
        "ignores the length that a task sets (max_gen_toks).",
        "Remove the key from generation_config.json.",
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
    "model.local-revision": CatalogEntry(
        "error",
        "A reference names a revision (`folder@revision`) of a local folder, which has none. mergekit would "
        "ignore it.",
        "Remove @ and what follows it, or name a Hub id.",
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
    "model.token-ignored": CatalogEntry(
        "warning",
        "transformers does not load a token as a file of the model says: it gives the token another id, or "
        "does not read special_tokens_map.json, because tokenizer_config.json has added_tokens_decoder.",
        "Correct the id, or name the token in tokenizer_config.json.",
    ),
    "model.tokenizer-rules": CatalogEntry(
        "warning",
        "An expert has the tokens and ids of the base, but its tokenizer.json splits texts into them by "
        "other rules: normalizer, pre_tokenizer, post_processor, decoder or merges.",
        "Give both models one tokenizer.json. A merged model gets the base's.",
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
    "model.unreachable": CatalogEntry(
        "error",
        "A model has to be fetched from the Hub, and the Hub does not answer within HF_HUB_ETAG_TIMEOUT "
        "seconds (10 if it is not set), or answers with an error of its own.",
        "Check the network and HF_ENDPOINT, or name a local folder.",
    ),
    "model.unsafe": CatalogEntry(
        "error",
        "A `.bin` file contains pickled objects that can run code when loaded. It was not loaded.",
        "Do not use this file.",
    ),
    "model.token-outside": CatalogEntry(
        "warning",
        "A special token, a token of the tokenizer or one in generation_config.json has an id for which the "
        "model has no embedding. Evaluation fails if the token is used. It is an error if transformers "
        "cannot load such a model, or if a model that is evaluated uses the token in every text or answer.",
        "Correct the id or the token, or resize the embeddings of the model.",
    ),
    "model.unseen": CatalogEntry(
        "note",
        "A part of the model was not checked, because its files are not on this machine.",
        "Run check on a machine that has the files, or start the command, which downloads them.",
    ),
    "model.unsupported": CatalogEntry(
        "error",
        "transformers has no causal language model for the model's config, or not its activation, "
        "rope_type or attn_implementation.",
        "Merge models of an architecture that AutoModelForCausalLM loads.",
    ),
    "model.vocabulary": CatalogEntry(
        "error",
        "Models have vocabularies of different sizes, and the recipe does not align them.",
        "Add a tokenizer block (tokenizer: {source: base}) to the recipe.",
    ),
}
