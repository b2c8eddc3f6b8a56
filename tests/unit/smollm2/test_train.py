"""Training an expert: resumed runs equal whole ones, and records say what was done."""

import json
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.smollm2_study import plans, train
from safetensors.torch import load_file

PLAN = plans.Plan("math", seed=3, rate=1e-2, tokens=5 * 4 * 16, length=16, batch=4, micro_batch=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tokens of all texts: 12 rows for training, 2 of each held-out text."""
    folder, rng = tmp_path_factory.mktemp("tokens"), np.random.default_rng(0)
    for text in ("finance", "math", "japanese", "general"):
        np.save(folder / f"{text}.train.npy", rng.integers(20, size=12 * 16 + 5).astype(np.uint16))
        np.save(folder / f"{text}.held_out.npy", rng.integers(20, size=40).astype(np.uint16))
    return folder


def weights(out, name="x"):
    return load_file(out / name / "model.safetensors")


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(tiny, folder, tmp_path):
    assert train.train("x", PLAN, tiny / "base", folder, tmp_path / "whole")
    trainer = train.Trainer("x", PLAN, tiny / "base", folder, tmp_path / "parts", "cpu")
    trainer.before = trainer.held_out()
    for _ in range(2):
        trainer.advance()
    assert not trainer.run(deadline=0)  # the time is up: it only writes a checkpoint
    assert not (tmp_path / "parts" / "x").exists() and trainer.checkpoint.is_file()
    assert train.train("x", PLAN, tiny / "base", folder, tmp_path / "parts")
    assert not trainer.checkpoint.exists()
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    base = load_file(tiny / "base" / "model.safetensors")
    assert any(not torch.equal(base[name], whole[name]) for name in whole)
    record = json.loads((tmp_path / "whole" / "x" / "training.json").read_text())
    assert record["steps"] == 5 and record["tokens"] == 320 and record["unique_tokens"] == 192
    assert record["passes"] == pytest.approx(320 / 192, abs=1e-3)
    assert record["held_out_after"]["math"] != record["held_out_before"]["math"]
    assert set(record["held_out_before"]) == {"finance", "math", "japanese", "general"}
    with pytest.raises(SystemExit, match=r"x.pt: of another plan\."):
        trainer.save()
        other = train.Trainer("x", replace(PLAN, rate=1.0), tiny / "base", folder, tmp_path / "parts", "cpu")
        other.resume()


def test_the_loss_is_the_mean_over_tokens_and_does_not_depend_on_micro_batches(tiny, folder, tmp_path):
    trainer = train.Trainer("x", PLAN, tiny / "base", folder, tmp_path, "cpu")
    ids = torch.from_numpy(trainer.rows[:8].astype(np.int64))
    logits = trainer.model(input_ids=ids).logits[:, :-1]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    assert train.loss_of(trainer.model, ids).item() == pytest.approx(expected.item(), rel=1e-6)
    first = trainer.advance().item()
    trainer.plan = replace(PLAN, micro_batch=4)
    again = train.Trainer("x", trainer.plan, tiny / "base", folder, tmp_path, "cpu")
    assert again.advance().item() == pytest.approx(first, rel=1e-6)


def test_every_pass_reads_all_rows_in_another_order_that_depends_on_the_seed():
    def first_passes(seed):
        order = train.batches(replace(PLAN, seed=seed), 6)
        return np.concatenate([next(order) for _ in range(3)])

    rows = first_passes(0)
    assert sorted(rows[:6]) == sorted(rows[6:]) == list(range(6)) and list(rows[:6]) != list(rows[6:])
    assert list(first_passes(0)) == list(rows) != list(first_passes(1))


def test_a_model_whose_layers_cannot_be_compiled_is_trained_without(
    tiny, folder, tmp_path, monkeypatch, capsys
):
    def compiled(self, *arguments, **named):
        raise RuntimeError("no compiler")

    trainer = train.Trainer("x", PLAN, tiny / "base", folder, tmp_path, "cpu")
    first = [parameter.clone() for parameter in trainer.model.parameters()]
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self: setattr(self, "_compiled_call_impl", compiled)
    )
    train.compile_parts(trainer)
    assert "x: layers not compiled" in capsys.readouterr().err and trainer.part_loss is train.part_loss
    assert all(p.grad is None for p in trainer.model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(first, trainer.model.parameters(), strict=True))
    trainer.advance()


def test_the_compiled_loss_and_its_gradients_are_those_of_the_plain_one():
    torch.manual_seed(0)
    states, head = torch.randn(2, 7, 16, requires_grad=True), torch.randn(50, 16, requires_grad=True)
    targets = torch.randint(50, (2, 7))
    results = []
    for loss_of_part in (train.part_loss, torch.compile(train.part_loss, backend="aot_eager")):
        loss = loss_of_part(states, head, targets)
        results.append((loss.detach(), *torch.autograd.grad(loss, (states, head))))
    for plain, compiled in zip(*results, strict=True):
        torch.testing.assert_close(plain, compiled)


def test_experts_are_taken_from_a_queue_by_one_process_for_each_device(monkeypatch):
    calls = []

    def run(command, cwd, env):
        name, device = command[3], command[5]
        calls.append((name, device, command[-1]))
        return subprocess.CompletedProcess(command, int(name == "math_a"))

    monkeypatch.setattr(train.subprocess, "run", run)
    with pytest.raises(SystemExit, match="Error: not trained: math_a. Run the same command again"):
        train.train_all(
            ["finance_a", "math_a", "japanese_a"], ["--out=o"], ["cuda:0", "cuda:1"], float("inf")
        )
    assert sorted(name for name, _, _ in calls) == ["finance_a", "japanese_a", "math_a"]
    assert {device for _, device, _ in calls} <= {"cuda:0", "cuda:1"} and calls[0][2] == "--out=o"
    with pytest.raises(SystemExit, match="not trained: finance_a"):  # no time is left
        train.train_all(["finance_a"], [], ["cpu"], 0.0)
    assert len(calls) == 3


def test_a_finished_expert_is_not_trained_again(tiny, folder, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "training.json").write_text("{}")
    assert train.train("x", PLAN, tmp_path / "no base", folder, tmp_path)


def test_several_experts_share_a_gpu(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(train, "train_all", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    folders = ["--base=b", "--tokens=t", f"--out={tmp_path}"]
    train.main(["--all", "--per-gpu=2", *folders])
    train.main(["--all", *folders])
    (_, _, two, _), (_, _, one, _) = calls
    assert two == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"] and one == ["cuda:0", "cuda:1"]
