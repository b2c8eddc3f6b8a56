"""Memory, GPU memory and disk: the need of a merge is compared with free bytes that the tests set."""

from pathlib import Path

import pytest
import torch

from mergekit_finance.checks import resources
from mergekit_finance.checks.merge_facts import MergeFacts
from mergekit_finance.checks.resources import check_resources, estimate
from mergekit_finance.models.facts import ModelFacts
from mergekit_finance.models.weight_files import TensorFacts

LARGE = 10**15
CONFIG = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64, "max_position_embeddings": 128}


def merge(**options: object) -> MergeFacts:
    tensors = {"w": TensorFacts("w", (1000, 64), "BF16")}
    models = tuple(ModelFacts(name, config=CONFIG, tensors=tensors) for name in ("./base", "./a"))
    return MergeFacts("r.yml", models, **options)


@pytest.fixture
def free(monkeypatch):
    """Set the free bytes of memory, GPU and disk."""

    def set_free(memory: int | None = LARGE, gpu: int | None = LARGE, disk: int = LARGE) -> None:
        monkeypatch.setattr(resources, "free_memory", lambda: memory)
        monkeypatch.setattr(resources, "free_gpu_memory", lambda device: gpu)
        monkeypatch.setattr(resources, "free_disk", lambda folder: disk)

    return set_free


def ids(facts: MergeFacts) -> list[str]:
    return [one.id for one in check_resources(facts)]


def test_the_estimate_is_the_merged_model_one_tensor_of_each_and_a_batch():
    needed = estimate(merge(out_dtype="bfloat16"))
    assert needed.disk == 1000 * 64 * 2
    assert needed.merge == needed.disk + 3 * 1000 * 64 * 4
    assert needed.evaluation == needed.disk + 2 * 2 * 4 * 16 * (8 * 128) * 2


def test_the_estimate_uses_the_study_files_batch_size_and_states_its_assumption():
    needed = estimate(merge(out_dtype="bfloat16", batch_size=2))
    assert needed.evaluation == needed.disk + 2 * 2 * 4 * 16 * (2 * 128) * 2
    assert needed.batch == "2 prompts of 128 tokens, the model's context"
    without = ModelFacts("./a", tensors={"w": TensorFacts("w", (10, 64), "BF16")})
    assert (
        estimate(MergeFacts("", (without,))).batch
        == "8 prompts of 4096 tokens, assumed; longer ones take more"
    )


def test_nothing_is_reported_if_all_fits_or_sizes_are_unknown(free):
    free()
    assert ids(merge(device="cuda", checkpoints=3, out=Path())) == []
    free(memory=None, gpu=None)
    assert ids(merge(device="cuda")) == []


def test_memory_must_hold_the_merge_and_on_the_cpu_its_evaluation(free):
    needed = estimate(merge())
    least = max(needed.merge, needed.evaluation)
    free(memory=least)
    assert ids(merge()) == []
    free(memory=least - 1)
    (one,) = check_resources(merge())
    assert (one.id, one.level) == ("resources.memory", "warning") and "evaluating on the CPU" in one.message


def test_a_merge_that_is_written_tensor_by_tensor_needs_no_memory_for_the_model(free):
    free(memory=1)
    assert ids(merge(in_memory=False)) == []


def test_a_gpu_must_hold_the_evaluation_if_one_is_used(free):
    free(gpu=estimate(merge()).evaluation - 1)
    assert ids(merge(device="cpu")) == []
    (one,) = check_resources(merge(device="cuda:1"))
    assert one.id == "resources.gpu-memory" and one.message.endswith("are free on cuda:1")
    free(gpu=estimate(merge()).evaluation)
    assert ids(merge(device="cuda:1")) == []


def test_all_gpus_together_hold_a_model_that_is_spread(free, monkeypatch):
    free(gpu=1)
    needed = estimate(merge()).evaluation
    monkeypatch.setattr(resources, "free_on_gpus", lambda device: [needed // 2, needed - needed // 2])
    assert ids(merge(device="cuda", parallelize=True)) == []
    monkeypatch.setattr(resources, "free_on_gpus", lambda device: [needed // 2, needed // 2 - 1])
    (one,) = check_resources(merge(device="cuda", parallelize=True))
    assert one.message.endswith("are free on all GPUs together")
    (note,) = resources.resource_note(merge(parallelize=True))
    assert ", over all GPUs together or in main memory without a GPU)" in note.message


def test_the_disk_must_hold_every_checkpoint_that_is_written(free):
    free(disk=2 * estimate(merge()).disk)
    assert ids(merge(checkpoints=2, out=Path("out"))) == []
    (one,) = check_resources(merge(checkpoints=3, out=Path("out")))
    assert one.id == "resources.disk" and "written to out" in one.message
    assert ids(merge(checkpoints=3)) == []  # no output folder


def test_a_study_reports_that_its_results_do_not_fit_the_disk(tiny, tmp_path, free):
    from helpers import study as studies

    from mergekit_finance.study import config
    from mergekit_finance.study.run import StudyRun

    lines: list[str] = []
    study = config.load_study(studies.write(tmp_path / "study.yml", tiny))
    run = StudyRun(study, tmp_path / "out", limit=8, quiet=True, say=lines.append)
    free(disk=run.disk_needed() - 1)
    run.check()
    assert [line for line in lines if line.endswith("[resources.disk]")]


@pytest.mark.parametrize(
    ("device", "free"),
    [("cuda", [30, 70]), ("cuda:0", [30]), ("cuda:1", [70]), ("cuda:2", [])],
)
def test_the_free_memory_of_gpus_is_that_of_the_device(monkeypatch, device, free):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: ((30, 70)[number], 100))
    assert resources.free_on_gpus(device) == free
    assert resources.free_gpu_memory(device) == min(free, default=None)
