"""`.bin` checkpoints: tensors are read as torch reads them, and no code in the file is run."""

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import commands, study
from helpers.merging import random_models, recipe, stored
from mergekit.config import MergeConfiguration
from mergekit.options import MergeOptions

from mergekit_finance.checks.check_all import check_all
from mergekit_finance.errors import ModelError
from mergekit_finance.merging import in_memory
from mergekit_finance.merging.on_disk import merge_to_folder
from mergekit_finance.merging.session import MergeSession
from mergekit_finance.models.facts import FactsReader, read_tensors
from mergekit_finance.models.loading import load_model
from mergekit_finance.models.pickled_weights import read_pickled_tensors
from mergekit_finance.models.presence import weights_size
from mergekit_finance.models.weight_files import ByteReader, BytesSpent, TensorFacts

BIN = "pytorch_model.bin"
NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.bool: "BOOL",
}  # fmt: skip


class Call:
    """Pickles as a call of a function, which is run on unpickling."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def as_bin(folder: Path) -> Path:
    """Write a model's safetensors as one `.bin` file instead."""
    torch.save(stored(folder), folder / BIN)
    (folder / "model.safetensors").unlink()
    return folder / BIN


@pytest.fixture
def models(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny models; math has a `.bin` file."""
    shutil.copytree(tiny, tmp_path / "models")
    as_bin(tmp_path / "models" / "math")
    return tmp_path / "models"


# ---- what torch writes


@pytest.mark.parametrize("dtype", NAMES, ids=str)
def test_names_shapes_and_dtypes_are_those_of_torch(dtype, tmp_path):
    matrix = torch.zeros(4, 6).to(dtype)
    content = {"a": matrix, "b": matrix[1:3, ::2], "c": matrix.t(), "d": torch.zeros(0).to(dtype)}
    content["e"] = torch.zeros(()).to(dtype)
    torch.save(content, tmp_path / BIN)
    expected = torch.load(tmp_path / BIN, weights_only=True)
    assert read_pickled_tensors(tmp_path / BIN) == [
        TensorFacts(name, tuple(tensor.shape), NAMES[tensor.dtype], BIN) for name, tensor in expected.items()
    ]


def test_a_state_dict_with_metadata_and_parameters_is_read(tmp_path):
    layer = torch.nn.Linear(3, 2)
    torch.save(layer.state_dict(), tmp_path / "a.bin")
    torch.save({"weight": layer.weight, "bias": layer.bias}, tmp_path / "b.bin")
    for name in ("a.bin", "b.bin"):
        expected = [TensorFacts("weight", (2, 3), "F32", name), TensorFacts("bias", (2,), "F32", name)]
        assert read_pickled_tensors(tmp_path / name) == expected


def test_the_bytes_of_the_pickle_are_counted_and_bounded(models):
    reader = ByteReader()
    read_pickled_tensors(models / "math" / BIN, reader)
    assert 500 < reader.bytes_read < (models / "math" / BIN).stat().st_size / 10
    with pytest.raises(BytesSpent):
        read_pickled_tensors(models / "math" / BIN, ByteReader(max_bytes=500))


def test_shards_are_read_in_order_and_their_bytes_counted(models, tiny):
    single = read_tensors(str(models / "math"))
    folder = models / "math"
    weights = torch.load(folder / BIN, weights_only=True)
    (folder / BIN).unlink()
    files = {name: f"pytorch_model-{i % 2}.bin" for i, name in enumerate(weights)}
    for file in set(files.values()):
        torch.save({n: w.clone() for n, w in weights.items() if files[n] == file}, folder / file)
    (folder / f"{BIN}.index.json").write_text(json.dumps({"weight_map": files}))
    expected = {(t.name, t.shape, t.dtype) for t in read_tensors(str(tiny / "math"))}
    assert {(t.name, t.shape, t.dtype) for t in single} == expected
    assert {(t.name, t.shape, t.dtype) for t in read_tensors(str(folder))} == expected
    facts = FactsReader().read(str(folder))
    assert set(facts.tensors or ()) == set(weights) and not facts.problems
    assert weights_size(str(folder)) == sum(path.stat().st_size for path in folder.glob("*.bin"))
    (folder / "pytorch_model-1.bin").unlink()
    with pytest.raises(ModelError, match=r"pytorch_model-1\.bin: no such file"):
        read_tensors(str(folder))


def test_a_bin_file_beside_safetensors_is_not_read(tiny, tmp_path):
    shutil.copytree(tiny / "math", tmp_path / "math")
    (tmp_path / "math" / BIN).write_bytes(b"garbage")
    assert read_tensors(str(tmp_path / "math")) == read_tensors(str(tiny / "math"))


def test_merges_of_bin_files_are_those_of_safetensors(models, tiny, tmp_path):
    for lazy in (False, True):
        options = MergeOptions(quiet=True, lazy_unpickle=lazy)
        for method in ("cpt_task_arithmetic", "cpt_ties", "linear"):
            parameters = {"weight": 1.0} if method == "linear" else {}
            expected, _ = in_memory.merge(configuration(tiny, method, **parameters), options)
            merged, _ = in_memory.merge(configuration(models, method, **parameters), options)
            theirs = expected.state_dict()
            assert all(torch.equal(tensor, theirs[name]) for name, tensor in merged.state_dict().items())
    with MergeSession.open(recipe(models, "cpt_ties")) as session:
        with MergeSession.open(recipe(tiny, "cpt_ties")) as other:
            assert torch.equal(session.model.lm_head.weight, other.model.lm_head.weight)


def configuration(models: Path, method: str = "cpt_task_arithmetic", **parameters: Any) -> MergeConfiguration:
    return MergeConfiguration.model_validate(recipe(models, method, **parameters))


# ---- what is refused


def write_pickle(path: Path, content: Any) -> None:
    path.write_bytes(pickle.dumps(content))


def write_call(path: Path, *arguments: Any) -> None:
    torch.save({"model.norm.weight": Call(*arguments)}, path)


def rezip(path: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> None:
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in change(content).items():
            archive.writestr(name, data)


def without_last_bytes(content: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data[:-1] if "/data/" in name else data for name, data in content.items()}


def cut(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])


HUGE = b"\x80\x02]r\xff\xff\xff\x7f."  # a list, stored at that place of the unpickler's table
BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "garbage": (lambda p: p.write_bytes(b"garbage" * 100), "truncated or broken"),
    "empty": (lambda p: p.write_bytes(b""), "truncated or broken"),
    "an HTML page": (lambda p: p.write_text("<html>rate limit</html>"), "truncated or broken"),
    "a Git LFS pointer": (lambda p: p.write_text("version https://git-lfs\noid 1\n"), "truncated or broken"),
    "truncated": (lambda p: cut(p, 5000), "truncated or broken"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "not a regular file"),
    "a pipe": (lambda p: (p.unlink(), os.mkfifo(p)), "not a regular file"),
    "storages too short": (lambda p: rezip(p, without_last_bytes), "lacks bytes of tensor"),
    "storages missing": (
        lambda p: rezip(p, lambda c: {n: d for n, d in c.items() if "/data/" not in n}),
        "lacks bytes of tensor",
    ),
    "a pickle that ends early": (
        lambda p: rezip(p, lambda c: {n: d[:50] if n.endswith("data.pkl") else d for n, d in c.items()}),
        "broken",
    ),
    "an opcode that reserves memory for 2**31 entries": (
        lambda p: rezip(p, lambda c: {n: HUGE if n.endswith("data.pkl") else d for n, d in c.items()}),
        "stores entry 2147483647",
    ),
    "another archive": (lambda p: rezip(p, lambda c: {"readme.txt": b"hello"}), "not a file of weights"),
    "a list": (lambda p: torch.save([torch.zeros(2)], p), "holds a list, not tensors by name"),
    "a number": (lambda p: torch.save({"epoch": 3}, p), "holds 'epoch', which is not a tensor"),
    "nested": (lambda p: torch.save({"state_dict": {}}, p), "holds 'state_dict', which is not a tensor"),
    "a plain pickle": (lambda p: write_pickle(p, {"a": 1}), r"older than PyTorch 1\.6"),
    "the format of PyTorch 1.5": (
        lambda p: torch.save({"a": torch.zeros(2)}, p, _use_new_zipfile_serialization=False),
        r"older than PyTorch 1\.6",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named_in_one_line(kind, models):
    breaks, message = BROKEN[kind]
    breaks(models / "math" / BIN)
    with pytest.raises(ModelError, match=rf"math/{BIN}: .*{message}") as caught:
        read_tensors(str(models / "math"))
    assert "\n" not in str(caught.value)
    (problem,) = FactsReader().read(str(models / "math")).problems
    assert f"{problem.message} [{problem.id}]" == str(caught.value)


HOSTILE: dict[str, Callable[[Path, Path], None]] = {  # each would create the second path
    "a system call": lambda p, mark: write_call(p, os.system, f"touch {mark}"),
    "eval": lambda p, mark: write_call(p, eval, f"open({str(mark)!r}, 'w').close()"),
    "a method of an allowed module": lambda p, mark: write_call(p, torch.save, {}, str(mark)),
    "a plain pickle": lambda p, mark: write_pickle(p, Call(os.system, f"touch {mark}")),
    "as the whole content": lambda p, mark: torch.save(Call(os.system, f"touch {mark}"), p),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_in_a_hostile_file_is_run(kind, models, tmp_path):
    mark, file = tmp_path / "mark", models / "math" / BIN
    HOSTILE[kind](file, mark)
    model, options = str(models / "math"), MergeOptions(quiet=True, write_model_card=False)
    references = [str(models / role) for role in ("base", "math")]
    (tmp_path / "out").mkdir()
    ways: list[Callable[[], Any]] = [
        lambda: read_tensors(model),
        lambda: check_all(references, "r.yml"),
        lambda: in_memory.merge(configuration(models), options),
        lambda: in_memory.merge(configuration(models, "linear", weight=1.0), options),
        lambda: in_memory.merge(configuration(models), options.model_copy(update={"lazy_unpickle": True})),
        lambda: MergeSession.open(recipe(models, "cpt_ties")),
        lambda: merge_to_folder(configuration(models), tmp_path / "out", options),
        lambda: load_model(model, "auto"),
    ]
    for way in ways:
        with pytest.raises(ModelError) as caught:
            way()
        assert "\n" not in str(caught.value)
    assert not mark.exists() and not list((tmp_path / "out").iterdir())
    if kind != "a plain pickle":
        assert [problem.id for problem in FactsReader().read(model).problems] == ["model.unsafe"]
    # Python's own pickle does run the code, so that the file is a valid test.
    if file.read_bytes()[:2] == b"PK":
        with zipfile.ZipFile(file) as archive:
            pickle.loads(archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl"))))
    else:
        pickle.loads(file.read_bytes())
    assert mark.exists()


@pytest.mark.parametrize("kind", ["hostile", "garbage", "missing"])
@pytest.mark.parametrize("command", ["run", "study plan", "study", "lm_eval", "mergekit-yaml"])
def test_every_command_ends_with_one_line_before_any_work(command, kind, models, tmp_path):
    file, mark, out = models / "math" / BIN, tmp_path / "mark", tmp_path / "out"
    if kind == "hostile":
        write_call(file, os.system, f"touch {mark}")
    elif kind == "garbage":
        file.write_bytes(b"garbage" * 1000)
    else:
        file.unlink()
        (file.parent / f"{BIN}.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": BIN}}))
    settings = tmp_path / "recipe.yml"
    settings.write_text(json.dumps(recipe(models, "cpt_task_arithmetic")))
    plan = study.write(tmp_path / "study.yml", models)
    fpb = ["--tasks", "finance_bench_fpb"]
    calls = {
        "run": [
            "mergekit-finance",
            "run",
            settings,
            "--out",
            out,
            "--limit",
            "2",
            *fpb,
            "--source",
            "sample",
        ],
        "study plan": ["mergekit-finance", "study", "plan", plan],
        "study": ["mergekit-finance", "study", plan, "--out", out],
        "lm_eval": ["lm_eval", "--model", "mergekit", "--model_args", f"recipe={settings}", *fpb],
        "mergekit-yaml": ["mergekit-yaml", settings, out],
    }
    done = commands.run(*map(str, calls[command]), cwd=tmp_path)
    line = commands.error_line(done)
    assert done.returncode == 1 and "math" in line and BIN in line, done.stderr
    assert "Traceback" not in done.stderr and not out.exists() and not mark.exists()


def test_a_model_of_random_bytes_never_gives_a_traceback(tmp_path):
    folder = random_models(tmp_path / "m") / "math"
    whole = as_bin(folder).read_bytes()
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        data = bytearray(whole)
        for place in torch.randint(len(data), (8,), generator=generator).tolist():
            data[place] = int(torch.randint(256, (1,), generator=generator))
        (folder / BIN).write_bytes(data)
        try:
            read_tensors(str(folder))
        except ModelError as error:
            assert "\n" not in str(error)
