"""Checks of tensors, values and configs, on tiny models on disk in which one thing is changed."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mergekit_finance.checks.lineage import distance_of
from mergekit_finance.checks.model_checks import examine_models
from mergekit_finance.models.facts import FactsReader

DOWN = "model.layers.1.mlp.down_proj.weight"
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
INV_FREQ = "model.layers.0.self_attn.rotary_emb.inv_freq"
BIAS = "model.layers.0.self_attn.q_proj.bias"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A base and an expert, untied, bfloat16, without tokenizer."""
    from helpers.tiny_models import make_llama, perturb

    folder = tmp_path_factory.mktemp("pristine")
    for seed, name in enumerate(("base", "expert")):
        model = make_llama(96, 0, hidden=32)
        if seed:
            perturb(model, seed, 0.002)
        model.to(torch.bfloat16).save_pretrained(folder / name)
    return folder


@pytest.fixture
def models(pristine, tmp_path):
    shutil.copytree(pristine, tmp_path / "models")
    return tmp_path / "models"


def change_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    tensors = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def change_json(folder, name="config.json", **values):
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, **values}))


def check(models, **options):
    """Return (level, id, line) of every finding, without those on missing tokenizers."""
    findings, _ = examine_models(
        [str(models / "base"), str(models / "expert")], "study.yml", FactsReader(), **options
    )
    assert all("\n" not in one.line for one in findings)
    without = ("model.unseen", "model.tokenizer")
    return [(one.level, one.id, one.line) for one in findings if one.id not in without]


def test_a_base_and_its_expert_give_no_finding(models):
    assert check(models) == []


TENSORS = {
    "missing in the expert": ("expert", lambda t: t.pop(DOWN), "error", "model.tensor-missing", DOWN),
    "missing in the base": ("base", lambda t: t.pop(DOWN), "error", "model.tensor-missing", DOWN),
    "rotary buffers": ("expert", lambda t: t.update({INV_FREQ: torch.ones(4)}), "note", "model.buffers", INV_FREQ),
    "a bias": ("expert", lambda t: t.update({BIAS: torch.ones(32)}), "error", "model.tensor-lost", BIAS),
    "a value head": ("expert", lambda t: t.update({"v_head.weight": torch.ones(32)}), "error", "model.tensor-lost", "v_head"),
    "a layer less": (
        "expert", lambda t: [t.pop(n) for n in list(t) if ".layers.1." in n], "error", "model.layers",
        "has 2 layers, the weight files have 1",
    ),
    "a layer more": (
        "base", lambda t: t.update({n.replace(".1.", ".2."): x for n, x in t.items() if ".layers.1." in n}),
        "error", "model.layers", "has 2 layers, the weight files have 3",
    ),
    "no head": ("expert", lambda t: t.pop(HEAD), "error", "model.tensor-missing", "tie_word_embeddings false"),
    "another shape": (
        "expert", lambda t: t.update({DOWN: torch.ones(32, 65)}), "error", "model.config-shape",
        r"shape [32, 65], and its config.json gives [32, 64]",
    ),
    "float32": (
        "expert", lambda t: t.update({n: x.float() for n, x in t.items()}), "warning", "model.dtype",
        "as F32, and its config.json says bfloat16",
    ),
    "NaN": ("expert", lambda t: t[DOWN].fill_(float("nan")), "error", "model.not-finite", DOWN),
    "Inf in the base": ("base", lambda t: t[DOWN][-1, -1:].fill_(float("inf")), "error", "model.not-finite", DOWN),
    "unrelated weights": (
        "expert", lambda t: t.update({n: torch.roll(x, 7, 0) if x.ndim > 1 else x for n, x in t.items()}),
        "warning", "model.far-from-base", "was trained from",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TENSORS)
def test_changed_tensors_are_found(models, case):
    model, change, level, name, text = TENSORS[case]
    change_tensors(models / model, change)
    matching = [(a, b) for a, b, line in check(models) if text in line]
    assert (level, name) in matching


def test_a_base_that_was_saved_again_in_another_dtype_is_noted(models):
    shutil.rmtree(models / "expert")
    shutil.copytree(models / "base", models / "expert")
    change_tensors(models / "base", lambda t: t.update({n: x.float() * 1.0005 for n, x in t.items()}))
    change_json(models / "base", dtype="float32")
    change_tensors(
        models / "expert",
        lambda t: t.update(
            {n: x.bfloat16() for n, x in load_file(models / "base" / "model.safetensors").items()}
        ),
    )
    assert [(level, name) for level, name, _ in check(models)] == [("note", "model.equals-base")]


@pytest.mark.parametrize(
    ("tied", "own_head", "expected"),
    [
        (("expert",), True, ["model.own-head", "model.config"]),
        (("base", "expert"), True, ["model.own-head", "model.own-head"]),
        (("base",), True, ["model.own-head", "model.own-head", "model.config"]),
        (("base", "expert"), False, []),
    ],
)
def test_a_head_that_a_config_ties_must_equal_the_embeddings(models, tied, own_head, expected):
    for name in tied:
        change_json(models / name, tie_word_embeddings=True)
    if not own_head:
        for name in ("base", "expert"):
            change_tensors(models / name, lambda t: t.update({HEAD: t[EMBED]}))
    assert [(level, name) for level, name, _ in check(models)] == [("warning", name) for name in expected]


SETTINGS = {
    "rms_norm_eps": 0.001, "hidden_act": "gelu", "sliding_window": 512, "max_position_embeddings": 128,
    "eos_token_id": 7, "bos_token_id": 5, "pad_token_id": None, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.mark.parametrize("key", SETTINGS)
def test_other_settings_are_warned_of_with_both_values(models, key):
    if key == "sliding_window":
        change_json(models / "base", sliding_window=None)
    if key == "tie_word_embeddings":
        change_tensors(models / "expert", lambda t: t.update({HEAD: t[EMBED]}))
    change_json(models / "expert", **{key: SETTINGS[key]})
    ((level, name, line),) = check(models)
    assert (level, name) == ("warning", "model.config")
    assert f"{key} (" in line and "keeps the base's settings" in line


def test_the_end_of_text_id_of_the_generation_config_is_compared(models):
    change_json(models / "expert", "generation_config.json", eos_token_id=[1, 9])
    ((level, name, line),) = check(models)
    assert (level, name) == ("warning", "model.config")
    assert "of generation_config.json ([1, 9], not 1)" in line


@pytest.mark.parametrize(
    "watermark",
    [{"seeding_scheme": "right"}, {"greenlist_ratio": 2}, {"context_width": 0}, {"unknown": 1}, [1]],
)
def test_a_watermark_that_transformers_refuses(models, watermark):
    change_json(models / "expert", "generation_config.json", watermarking_config=watermark)
    ((level, name, line),) = check(models)
    assert (level, name) == ("error", "model.generation-config")
    assert "watermarking_config" in line


def test_a_watermark_that_transformers_reads(models):
    change_json(models / "expert", "generation_config.json", watermarking_config={"greenlist_ratio": 0.5})
    assert check(models) == []


def test_heads_that_do_not_divide_the_hidden_size_are_a_broken_config_as_for_transformers(models):
    change_json(models / "expert", num_attention_heads=5)
    level, name, line = check(models)[0]
    assert (level, name) == ("error", "model.broken")
    assert "is not a multiple of num_attention_heads 5" in line


def test_a_list_of_one_id_equals_the_id(models):
    change_json(models / "expert", eos_token_id=[1])
    assert check(models) == []


@pytest.mark.parametrize("key", ["attention_bias", "mlp_bias"])
@pytest.mark.parametrize("owner", ["base", "expert"])
def test_biases_that_one_config_has_are_an_error(models, key, owner):
    change_json(models / owner, **{key: True})
    assert [(level, name) for level, name, _ in check(models)] == [("error", "model.tensor-lost")]


def test_names_are_compared_with_the_base_where_mergekit_has_no_list(models):
    for name in ("base", "expert"):
        change_json(models / name, architectures=["NewForCausalLM"])
    change_tensors(models / "expert", lambda t: t.update({BIAS: t.pop(DOWN)[0]}))
    assert [(level, name) for level, name, _ in check(models)] == [
        ("error", "model.tensor-missing"),
        ("error", "model.tensor-lost"),
    ]


def test_tensors_that_all_models_have_and_mergekit_leaves_out_are_an_error(models):
    """Two Llamas with biases: mergekit's list for Llama has none."""
    for name in ("base", "expert"):
        change_json(models / name, attention_bias=True)
        change_tensors(models / name, lambda t: t.update({BIAS: torch.ones(32)}))
    assert [name for _, name, _ in check(models)] == ["model.tensor-lost"] * 2


def test_the_relative_norm_is_that_of_all_matrices(models):
    """Small matrices are sampled whole: the estimate equals the norm over every element."""
    _, merge = examine_models([str(models / "base"), str(models / "expert")], "study.yml", FactsReader())
    one, two = (load_file(models / n / "model.safetensors") for n in ("base", "expert"))
    small = [name for name, tensor in one.items() if tensor.numel() <= 1024 and tensor.ndim > 1]
    x, y = (np.concatenate([t[n].double().numpy().ravel() for n in small]) for t in (one, two))
    base, expert = (
        type(m)(m.reference, tensors=m.tensors, samples={n: m.samples[n] for n in small})
        for m in merge.models
    )
    relative_norm, cosine = distance_of(base, expert)
    assert relative_norm == pytest.approx(np.linalg.norm(y - x) / np.linalg.norm(x), rel=1e-9)
    assert cosine == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), rel=1e-9)


def test_a_model_that_was_trained_from_scratch_is_far_from_the_base(models):
    """Its norms equal the base's; the distance of independent matrices is the square root of 2."""
    from helpers.tiny_models import make_llama

    make_llama(96, 5, hidden=32).to(torch.bfloat16).save_pretrained(models / "expert")
    ((level, name, line),) = check(models)
    assert (level, name) == ("warning", "model.far-from-base")
    assert "is 1.4" in line and "cosine of their weights 0.0" in line.replace("-", "")


def test_large_tensors_count_by_their_elements(models):
    _, merge = examine_models([str(models / "base"), str(models / "expert")], "s", FactsReader())
    one, two = (load_file(models / n / "model.safetensors") for n in ("base", "expert"))
    x, y = (
        np.concatenate([t[n].double().numpy().ravel() for n in sorted(one) if one[n].ndim > 1])
        for t in (one, two)
    )
    assert distance_of(*merge.models)[0] == pytest.approx(np.linalg.norm(y - x) / np.linalg.norm(x), rel=0.1)
