"""One recipe, three ways: in memory, in a session, and on disk by mergekit's own `run_merge`.

All give the same tensors, config, generation config and tokenizer, whatever keys the recipe has.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.architectures import ARCHITECTURES, write_family
from helpers.merging import raw, stored
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from mergekit.tokenizer.config import ModelTokenEmbedding, TokenEmbeddingConfig, TokenizerConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

from mergekit_finance.merging import in_memory
from mergekit_finance.merging.session import MergeSession

Settings = dict[str, Any]
JINJA = "{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}"
NOT_COMPARED = {"_name_or_path": "the folder that a model was loaded from; a live model has none"}
CONVERSATION = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]


@dataclass(frozen=True)
class Outcome:
    """The parts of a merged model that can change its answers."""

    tensors: Mapping[str, bytes]
    config: Mapping[str, Any]
    generation: Mapping[str, Any]
    vocabulary: Mapping[str, int]
    added_tokens: Mapping[int, str]
    special_ids: Mapping[str, Any]
    conversation: str
    encoded: list[int]

    @classmethod
    def of(cls, model: Any, tokenizer: Any) -> "Outcome":
        special = {name: getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad", "unk")}
        render = tokenizer.apply_chat_template
        return cls(
            tensors={name: raw(tensor) for name, tensor in model.state_dict().items()},
            config={key: value for key, value in model.config.to_dict().items() if key not in NOT_COMPARED},
            generation=model.generation_config.to_dict(),
            vocabulary=tokenizer.get_vocab(),
            added_tokens={i: repr(token) for i, token in tokenizer.added_tokens_decoder.items()},
            special_ids={**special, "all": sorted(tokenizer.all_special_ids)},
            conversation=render(CONVERSATION, tokenize=False) if tokenizer.chat_template else "",
            encoded=tokenizer.encode("Profit rose <math> by 3 <finance>%."),
        )

    def differences(self, other: "Outcome") -> list[str]:
        """Return the names of the fields that differ, and for mappings the first key that does."""
        different = []
        for name, mine in vars(self).items():
            theirs = getattr(other, name)
            if mine == theirs:
                continue
            keys = (
                [k for k in {**mine, **theirs} if mine.get(k) != theirs.get(k)]
                if isinstance(mine, dict)
                else ""
            )
            different.append(f"{name} {keys[:3]}")
        return different


def on_disk(settings: Settings, folder: Path, **options: Any) -> Outcome:
    chosen = MergeOptions(quiet=True, write_model_card=False, **options)
    run_merge(MergeConfiguration.model_validate(settings), str(folder), chosen)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    return Outcome.of(model, AutoTokenizer.from_pretrained(folder))


def memory(settings: Settings, **options: Any) -> Outcome:
    configuration = MergeConfiguration.model_validate(settings)
    return Outcome.of(*in_memory.merge(configuration, MergeOptions(quiet=True, **options)))


def session(settings: Settings) -> Outcome:
    with MergeSession.open(settings) as opened:
        return Outcome.of(opened.model, opened.tokenizer)


# ---- recipes


def recipe(folder: Path, method: str = "cpt_task_arithmetic", **keys: Any) -> Settings:
    """A recipe over base, math and finance; `keys` are added, and those that are None removed."""
    settings = {
        "merge_method": method,
        "base_model": str(folder / "base"),
        "models": [{"model": str(folder / role)} for role in ("math", "finance")],
        "parameters": {"lambda": 0.5},
        "dtype": "float32",
        "out_dtype": "bfloat16",
        **keys,
    }
    return {name: value for name, value in settings.items() if value is not None}


def layers(folder: Path, *ranges: tuple[int, int], roles: tuple[str, ...] = ("base", "math")) -> list[Any]:
    return [
        {"sources": [{"model": str(folder / role), "layer_range": list(span)} for role in roles]}
        for span in ranges
    ]


EVERY: dict[str, Callable[[Path], Settings]] = {  # over all architectures
    "plain": recipe,
    "chat_template: a name": lambda f: recipe(f, chat_template="chatml"),
    "tokenizer: base, padded": lambda f: recipe(f, tokenizer={"source": "base", "pad_to_multiple_of": 64}),
}
KEYS: dict[str, Callable[[Path], Settings]] = {  # what a session can sweep
    "no dtype": lambda f: recipe(f, dtype=None, out_dtype=None),
    "dtype": lambda f: recipe(f, dtype="float16", out_dtype=None),
    "out_dtype": lambda f: recipe(f, dtype=None, out_dtype="float32"),
    "chat_template: auto": lambda f: recipe(f, chat_template="auto"),
    "chat_template: Jinja": lambda f: recipe(f, chat_template=JINJA),
    "tokenizer_source: base": lambda f: recipe(f, tokenizer_source="base"),
    "tokenizer_source: union": lambda f: recipe(f, tokenizer_source="union"),
    "tokenizer_source: a model": lambda f: recipe(f, tokenizer_source=str(f / "math")),
    "tokenizer: union": lambda f: recipe(f, tokenizer={}),
    "tokenizer: a model": lambda f: recipe(f, tokenizer={"source": str(f / "finance")}),
    "tokenizer: padded": lambda f: recipe(f, tokenizer={"source": "union", "pad_to_multiple_of": 50}),
    "tokenizer: tokens": lambda f: recipe(
        f,
        tokenizer={
            "source": "union",
            "tokens": {
                "<math>": {"source": str(f / "math"), "force": True},
                "<none>": {"source": {"kind": "zero"}},
                "<copy>": {"source": {"kind": "model_token", "model": str(f / "math"), "token": "<math>"}},
                "<first>": {"source": {"kind": "model_token", "model": str(f / "math"), "token_id": 3}},
            },
        },
    ),
    "tokenizer and chat_template": lambda f: recipe(f, tokenizer={"source": "union"}, chat_template="auto"),
    "modules": lambda f: recipe(f, models=None, modules={"default": {"models": recipe(f)["models"]}}),
    "base among models": lambda f: recipe(f, models=[{"model": str(f / r)} for r in ("math", "base")]),
    "override_architecture": lambda f: recipe(
        f,
        models=[{"model": {"model": {"path": str(f / "math")}, "override_architecture": "LlamaForCausalLM"}}],
    ),
    "slices": lambda f: recipe(
        f, models=None, slices=layers(f, (0, 1), (1, 2)), parameters={"semantics": "mergekit"}
    ),
    "fewer layers": lambda f: recipe(
        f, models=None, slices=layers(f, (1, 2)), parameters={"semantics": "mergekit"}
    ),
    "a filter": lambda f: recipe(
        f,
        parameters={"semantics": "mergekit"},
        models=[
            {
                "model": str(f / "math"),
                "parameters": {"weight": [{"filter": "mlp", "value": 0.3}, {"value": 1.0}]},
            }
        ],
    ),
    "TIES": lambda f: recipe(f, "cpt_ties", parameters={"density": 0.5}),
    "DARE-TIES": lambda f: recipe(f, "cpt_dare_ties", parameters={"density": 0.5}),
}
MERGEKITS: dict[str, Callable[[Path], Settings]] = {  # methods of mergekit's own
    "task_arithmetic": lambda f: recipe(
        f, "task_arithmetic", chat_template="chatml", parameters={"weight": 0.5}
    ),
    "linear without base": lambda f: recipe(
        f,
        "linear",
        base_model=None,
        parameters={"weight": 1.0},
        models=[{"model": str(f / r)} for r in ("finance", "math", "base")],
        chat_template="auto",
    ),
    "linear, union without base": lambda f: recipe(
        f,
        "linear",
        base_model=None,
        parameters={"weight": 1.0},
        models=[{"model": str(f / r)} for r in ("finance", "math", "base")],
        tokenizer={"source": "union"},
    ),
    "passthrough": lambda f: recipe(
        f,
        "passthrough",
        base_model=None,
        parameters=None,
        models=None,
        slices=[*layers(f, (0, 2), roles=("math",)), *layers(f, (0, 2), roles=("finance",))],
    ),
    "passthrough, a layer twice": lambda f: recipe(
        f,
        "passthrough",
        base_model=None,
        parameters=None,
        models=None,
        slices=layers(f, (0, 2), (1, 2), roles=("math",)),
    ),
    "slerp": lambda f: recipe(
        f, "slerp", models=None, slices=layers(f, (0, 2)), parameters={"t": [0, 0.5, 1]}
    ),
}
# Why mergekit 0.1.5 cannot merge this at all.
UNSUPPORTED = {
    ("phi3", True): "its architecture file lists lm_head.weight as required, and tied checkpoints have none"
}


def test_every_key_of_a_recipe_and_of_its_tokenizer_is_compared():
    """Other keys of mergekit's models decide which tensors are merged, not what is done after them."""
    recipes = [make(Path("m")) for table in (EVERY, KEYS, MERGEKITS) for make in table.values()]
    blocks = [one["tokenizer"] for one in recipes if "tokenizer" in one]
    tokens = [token for block in blocks for token in block.get("tokens", {}).values()]
    sources = [token["source"] for token in tokens if isinstance(token["source"], dict)]
    assert {key for one in recipes for key in one} == set(MergeConfiguration.model_fields)
    assert {key for block in blocks for key in block} == set(TokenizerConfig.model_fields)
    assert {key for token in tokens for key in token} == set(TokenEmbeddingConfig.model_fields)
    assert {key for source in sources for key in source} == set(ModelTokenEmbedding.model_fields)
    assert {source["kind"] for source in sources} == {"zero", "model_token"}


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that writes each family once."""
    written: dict[Any, Path] = {}

    def family(architecture: str = "llama", tied: bool = False, **options: Any) -> Path:
        key = (architecture, tied, *sorted(options))
        if key not in written:
            written[key] = write_family(tmp_path_factory.mktemp("family"), architecture, tied=tied, **options)
        return written[key]

    return family


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_gives_the_same_model_in_all_three_ways(
    architecture, tied, name, families, tmp_path
):
    settings = EVERY[name](families(architecture, tied))
    if (architecture, tied) in UNSUPPORTED:
        with pytest.raises(Exception, match="lm_head"):
            on_disk(settings, tmp_path)
        return
    disk = on_disk(settings, tmp_path)
    assert memory(settings).differences(disk) == []
    assert session(settings).differences(disk) == []


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("name", KEYS)
def test_every_key_of_a_recipe_gives_the_same_model_in_all_three_ways(name, tied, families, tmp_path):
    extra = name.startswith("tokenizer")
    settings = KEYS[name](families(tied=tied, extra_tokens=True) if extra else families(tied=tied))
    disk = on_disk(settings, tmp_path)
    assert memory(settings).differences(disk) == []
    assert session(settings).differences(disk) == []


@pytest.mark.parametrize("name", MERGEKITS)
def test_mergekits_own_methods_give_the_same_model_in_memory(name, families, tmp_path):
    extra = "union" in name
    settings = MERGEKITS[name](families(extra_tokens=True) if extra else families())
    assert memory(settings).differences(on_disk(settings, tmp_path)) == []


def test_float32_beside_a_bfloat16_config_is_loaded_as_from_disk(families, tmp_path):
    """Without dtype keys the weights become float32, and transformers loads them as the config says."""
    settings = recipe(families(dtypes={"math": torch.float32}), dtype=None, out_dtype=None)
    disk = on_disk(settings, tmp_path)
    assert stored(tmp_path)["model.norm.weight"].dtype == torch.float32
    assert memory(settings).differences(disk) == []
    assert session(settings).differences(disk) == []


@pytest.mark.parametrize(
    "chosen",
    [
        {"clone_tensors": True},
        {"out_shard_size": 2000},
        {"safe_serialization": False},
        {"lazy_unpickle": True},
    ],
    ids=lambda chosen: next(iter(chosen)),
)
def test_options_of_mergekit_change_nothing(chosen, families, tmp_path):
    settings = recipe(families(), "linear", parameters={"weight": 0.5}, chat_template="chatml")
    assert memory(settings, **chosen).differences(on_disk(settings, tmp_path, **chosen)) == []


def test_architectures_can_be_mixed_with_allow_crimes(families, tmp_path):
    """`allow_crimes`: the config is that of the first model."""
    models = [{"model": str(families(name) / "math")} for name in ("llama", "mistral")]
    settings = {"merge_method": "linear", "models": models, "parameters": {"weight": 0.5}, "dtype": "float32"}
    disk = on_disk(settings, tmp_path, allow_crimes=True)
    assert memory(settings, allow_crimes=True).differences(disk) == []
    assert disk.config["model_type"] == "llama"
