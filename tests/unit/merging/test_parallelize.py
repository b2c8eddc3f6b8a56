"""One model over several devices. Two logical devices stand for GPUs here; both are the CPU."""

import copy
import sys

import pytest
import torch
from accelerate import dispatch_model
from helpers import sessions
from helpers.merging import raw
from mergekit.config import MergeConfiguration
from mergekit.options import MergeOptions
from transformers import AutoConfig, LlamaConfig

from mergekit_finance.errors import ModelError
from mergekit_finance.evaluation.live_merges import Sweep, merge_once
from mergekit_finance.evaluation.live_models import LiveModels
from mergekit_finance.merging import in_memory
from mergekit_finance.merging.placement import OutputTensor, place_with_targets
from mergekit_finance.merging.session import MergeSession
from mergekit_finance.models import spread
from mergekit_finance.models.spread import Spread, bytes_of, device_of

GPUS = Spread(("cuda:0", "cuda:1"))
CPUS = Spread(("cpu", "cpu"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return sessions.models(tmp_path_factory.mktemp("parallelize"), num_hidden_layers=4)


@pytest.fixture(autouse=True)
def two_devices(monkeypatch):
    monkeypatch.setattr(spread, "free_bytes", lambda device: 10**9)
    monkeypatch.setattr(Spread, "over", lambda device, bound=None: CPUS)


@pytest.fixture
def maps(monkeypatch):
    """The device maps with which models were loaded or built."""
    used, infer = [], Spread.device_map

    def noted(self, config, dtype=None):
        used.append(infer(GPUS, config, dtype))
        return dict.fromkeys(used[-1], "cpu")

    monkeypatch.setattr(Spread, "device_map", noted)
    return used


def config(**changes):
    sizes = {"hidden_size": 16, "intermediate_size": 64, "num_attention_heads": 4, "vocab_size": 32}
    return LlamaConfig(**sizes, num_hidden_layers=6, dtype="bfloat16", **changes)


@pytest.mark.parametrize("tied", [True, False])
def test_whole_layers_are_shared_out_and_tied_weights_stay_together(tied):
    places = GPUS.device_map(config(tie_word_embeddings=tied))
    layers = [device_of(f"model.layers.{n}.mlp.up_proj.weight", places) for n in range(6)]
    assert layers == sorted(layers) and set(layers) == set(GPUS.devices)
    ends = device_of("model.embed_tokens.weight", places), device_of("lm_head.weight", places)
    assert (ends[0] == ends[1]) == tied


def test_the_bytes_of_each_gpu_are_said_and_weights_that_do_not_fit_are_refused():
    said = GPUS.summary(config())
    assert "GB on cuda:0 (free: 1.0 GB), " in said and "GB on cuda:1 (free: 1.0 GB)" in said
    with pytest.raises(
        ModelError, match=r"parallelize: the weights of LlamaForCausalLM take .*Use more GPUs"
    ):
        Spread(GPUS.devices, max_memory_per_gpu=4000).device_map(config())


def test_without_accelerate_one_line_says_what_to_install(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ModelError, match=r"needs accelerate.* Run: pip install accelerate"):
        Spread.over("cpu")


def test_a_single_gpu_is_refused_and_a_cpu_holds_a_model_as_a_whole(monkeypatch):
    monkeypatch.undo()
    with pytest.raises(ModelError, match="cuda:1 is one GPU"):
        Spread.over("cuda:1")
    assert Spread.over("cpu").device_map(config()) == {"": "cpu"}
    assert "cpu is the only device" in Spread.over("cpu").summary(config())


@pytest.mark.parametrize(("text", "size"), [("40GiB", 40 << 30), ("1.5 gb", 15 * 10**8), (7, 7)])
def test_amounts_of_memory_are_read_as_accelerate_does(text, size):
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "0", "40Gib/s", "-1GB", "many", "1e9"])
def test_other_texts_are_no_amounts(text):
    with pytest.raises(ModelError, match="Write 40GiB"):
        bytes_of(text)


@pytest.mark.parametrize("semantics", ["paper", "mergekit"])
def test_points_in_a_session_have_the_bytes_of_one_device(models, maps, semantics):
    settings = sessions.settings_of(models, "cpt_ties", semantics)
    with (
        MergeSession.open(settings, device="cpu") as whole,
        MergeSession.open(settings, parallelize=True) as split,
    ):
        # What transformers does with a map of two GPUs; hooks move activations between layers.
        dispatch_model(split.model, dict.fromkeys(maps[0], "cpu"), force_hooks=True)
        for density in (0.3, 0.7):
            one, other = whole.apply(density=density), split.apply(density=density)
            assert bytes_of_weights(one) == bytes_of_weights(other)
        tokens = torch.arange(8)[None]
        with torch.no_grad():
            assert torch.equal(one(tokens).logits, other(tokens).logits)
    assert set(maps[0].values()) == set(GPUS.devices)


def test_any_method_and_models_as_they_are_are_spread_too(models, maps):
    live = LiveModels(dtype="float32", engine="hf", quiet=True, spread=CPUS)
    settings = sessions.recipe(models, "task_arithmetic")
    options = MergeOptions(quiet=True)
    whole, _ = in_memory.merge(MergeConfiguration.model_validate(copy.deepcopy(settings)), options)
    assert bytes_of_weights(merge_once(settings, live, False).model) == bytes_of_weights(whole)
    assert live.load(str(models / "base")).plain_reason == "engine: hf"
    Sweep(live).at(sessions.settings_of(models, "cpt_ties", "paper"))
    assert len(maps) == 3


def test_inputs_are_streamed_to_the_device_of_their_parameter_up_to_a_limit(monkeypatch):
    moved = []
    monkeypatch.setattr(
        "mergekit_finance.merging.placement.moved", lambda group, device: moved.append(device) or group
    )
    tensors = [output(f"t{n}", torch.device("cuda", n % 2)) for n in range(4)]
    tensors.append(output("tied", None, tied_to="t1"))
    place_with_targets(tensors, limit=10)
    assert [str(tensor.device) for tensor in tensors] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:1"]
    assert [tensor.streamed for tensor in tensors] == [False, False, True, True, True]
    assert [str(device) for device in moved] == ["cuda:0", "cuda:1"]


def test_the_skeleton_has_the_names_of_the_stored_tensors(models):
    places = GPUS.device_map(AutoConfig.from_pretrained(models / "base"))
    with MergeSession.open(sessions.settings_of(models, "cpt_ties", "paper")) as session:
        assert {device_of(name, places) for name in session.model.state_dict()} == set(GPUS.devices)


class Target:
    def __init__(self, device):
        self.device = device


class Group:
    tensors = [torch.zeros(2)]  # 8 bytes

    def __init__(self, name):
        self.metadata = type("Metadata", (), {"name": name})


def output(name, device, tied_to=None):
    target = None if device is None else Target(device)
    return OutputTensor(Group(name), {}, torch.float32, tied_to, target=target)


def bytes_of_weights(model):
    return {name: raw(tensor) for name, tensor in model.state_dict().items()}
