"""The training of the lab's models: size, first steps, resuming, packing. On the CPU, with very few rows."""

import numpy as np
import pytest
import torch
from helpers.lab_training import model, packing, plans, tokenizer, train

from mergekit_finance.lab import ROLES

SMALL = {"steps": 10, "documents": 60, "batch": 2, "seed": 0}
# Losses of ten steps on the CPU. The tolerance is for other BLAS libraries and thread counts.
LOSSES = [7.7236, 7.5328, 7.2608, 6.8466, 6.6441, 6.5531, 6.3217, 6.0345, 5.8883, 6.0550]
TOLERANCE = 0.02


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """A second thread slows down the training of a model this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def corpus():
    return packing.corpus("base", SMALL["documents"])


def trainer(out, corpus, **changes):
    return train.Trainer(plans.plan_for("base", **{**SMALL, **changes}), out, corpus)


def test_the_architecture_has_at_most_two_million_parameters():
    network = model.make(0)
    assert sum(p.numel() for p in network.parameters()) <= model.MAX_PARAMETERS
    assert network.config.vocab_size == len(tokenizer.load())


def test_first_weights_depend_on_the_seed_alone():
    torch.manual_seed(5)
    first, again, other = (model.make(seed).lm_head.weight for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_ten_steps_change_the_loss_as_recorded(tmp_path, corpus):
    first_trainer = trainer(tmp_path, corpus)
    losses = [first_trainer.advance().item() for _ in range(10)]
    assert losses == pytest.approx(LOSSES, abs=TOLERANCE)
    assert losses[-1] < losses[0] - 0.3


def test_a_resumed_run_gives_the_weights_of_an_uninterrupted_one(tmp_path, corpus):
    whole = trainer(tmp_path / "whole", corpus, steps=6, save_every=3)
    whole.run()
    cut = trainer(tmp_path / "cut", corpus, steps=6, save_every=3)
    cut.run(stop_at=4)
    resumed = trainer(tmp_path / "cut", corpus, steps=6, save_every=3)
    resumed.resume()
    assert resumed.step == 3
    resumed.run()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_a_checkpoint_of_another_plan_is_refused(tmp_path, corpus):
    first_trainer = trainer(tmp_path, corpus, save_every=1)
    first_trainer.run(stop_at=1)
    with pytest.raises(SystemExit, match="was written under another plan"):
        trainer(tmp_path, corpus, save_every=1, rate=0.5).resume()


def test_an_expert_needs_its_base(tmp_path):
    with pytest.raises(SystemExit, match="base is missing. Train the base first"):
        train.first_weights(plans.plan_for("math"), tmp_path)


@pytest.mark.simulation
def test_all_roles_train_pack_and_load(tmp_path, capsys):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = tmp_path / "out"
    small = ["--steps", "2", "--documents", "40", "--batch", "2", "--processes", "1", "--device", "cpu"]
    train.main(["--out", str(out), *small, "--probe", "0", "--pack", str(tmp_path / "lab.tar.gz")])
    assert (tmp_path / "lab.tar.gz").stat().st_size < 16e6
    assert not (out / "checkpoints").exists()
    weights = [AutoModelForCausalLM.from_pretrained(out / role) for role in ROLES]
    assert {w.dtype for w in weights} == {torch.bfloat16}
    assert len({w.model.embed_tokens.weight.sum().item() for w in weights}) == 4
    assert AutoTokenizer.from_pretrained(out / "math").decode([5]) == tokenizer.load().decode([5])
    assert "| seed | 0 |" in (out / "math" / "README.md").read_text(encoding="utf-8")


def test_attention_does_not_cross_the_documents_of_a_row():
    packed = packing.pack([("1+2=", "3"), ("4+5=", "9")])
    alone = packing.pack([("4+5=", "9")])
    assert len(packed) == 1 and packed.segment.max() == 2
    llama = model.make(0).eval()
    start = int(np.argmax(packed.segment[0] == 2))
    size = int((alone.segment[0] == 1).sum())
    both = _logits(llama, packed)[start : start + size]
    assert torch.allclose(both, _logits(llama, alone)[:size], atol=1e-4)


def _logits(llama, packed):
    ids, segment = (torch.from_numpy(a) for a in (packed.ids, packed.segment))
    with torch.inference_mode():
        return llama(input_ids=ids.long(), attention_mask=model.document_mask(segment)).logits[0]


def test_the_loss_counts_completions_in_full_and_prompts_little():
    packed = packing.pack([("1+2=", "3")])
    size = int((packed.segment[0] == 1).sum())
    weights = packed.weight[0, :size].tolist()
    assert weights == pytest.approx([0.0, 0.1, 0.1, 0.1, 1.0, 1.0])  # the last is the end of the text
    assert packed.weight[0, size:].sum() == 0


def test_the_corpus_does_not_depend_on_the_number_of_processes(monkeypatch):
    monkeypatch.setattr(packing, "PART", 20)
    one = packing.corpus("math", 40)
    parts = [packing.pack_part("math", 20, part) for part in range(2)]
    assert np.array_equal(one.ids, np.concatenate([p.ids for p in parts]))


def test_help_shows_defaults_and_what_the_probe_writes(capsys):
    with pytest.raises(SystemExit):
        train.main(["--help"])
    help_text = " ".join(capsys.readouterr().out.split())
    assert "OUT/probe.json" in help_text and "default: 1200000 base, 360000 an expert" in help_text
    assert (
        "default: 96" in help_text
        and "default: 256 base, 128 an expert" in help_text
        and "default: auto" in help_text
    )
