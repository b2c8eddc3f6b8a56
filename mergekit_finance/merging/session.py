"""MergeSession: open constituents once, and merge any number of points into one live model.

    with MergeSession.open("recipe.yml") as session:
        session.prepare(density=[0.1, 0.2, 0.5])
        for density in (0.1, 0.2, 0.5):
            evaluate(session.apply(density=density), session.tokenizer)

A point is bit for bit what `mergekit-yaml` writes for the same recipe with the same values (mergekit
semantics of DARE: with the same number of torch threads, on the same kind of device). Only our three
methods can be swept; the semantics are the recipe's.

Where constituents are held: on the CPU they are mapped from their files, and the operating system keeps what
fits in memory. On GPUs they are held in their own dtypes, each output tensor's inputs on one device, as long
as `memory_limit` and the device allow; the rest stay on the CPU and are copied for every point. If a device
runs out of memory, a warning names it, and its inputs are streamed.

With `parallelize`, the live model itself is spread over all GPUs. Each tensor is merged on the GPU that holds
it; its inputs are copied there for every point, except as many bytes per GPU as `memory_limit` allows.
"""

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from mergekit_finance.engine import dispatch, top_k
from mergekit_finance.engine.finite import require_all_finite
from mergekit_finance.engine.sweep_cuts import Pair, SweepCuts
from mergekit_finance.engine.terms import Cut, PassOptions
from mergekit_finance.errors import ModelError, RecipeError, first_line, is_out_of_memory
from mergekit_finance.hosts.transformers import untie
from mergekit_finance.merge_methods.method import CptMethod, sign
from mergekit_finance.merge_methods.parameters import Call, ExpertParameters, Parameters
from mergekit_finance.merge_methods.ties import kept_by_mergekit
from mergekit_finance.merging.opening import RecipeLike, open_recipe
from mergekit_finance.merging.placement import (
    OutputTensor,
    place,
    place_with_targets,
    usable_device,
    use_less_memory,
)
from mergekit_finance.merging.point_values import PointValue, PointValues, check_point
from mergekit_finance.models.spread import Spread, device_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LOG = logging.getLogger(__name__)


class MergeSession:
    """One live model into which the points of a recipe are merged, one after the other.

    Made by `open`. Use it as a context manager, or call `close`.

    Attributes:
        model: the live model, on the first device.
        tokenizer: its tokenizer.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"

    def __init__(
        self, method: CptMethod, tensors: list[OutputTensor], buffers: dict[str, torch.Tensor]
    ) -> None:
        self._method, self._tensors, self._buffers = method, tensors, buffers
        first = tensors[0]
        self._experts: list[Hashable] = [entry.id for entry in first.group.non_base]
        self._paper = first.parameters["semantics"] == "paper"
        self._cuts = _SessionCuts(tensors, self._experts, self._paper)
        self._balances: dict[str, int] = {}  # sign balance of the whole vector, by `_vote_key`
        self._guess = 1  # the sign that the last count elected

    @classmethod
    def open(
        cls,
        recipe: RecipeLike,
        *,
        device: str | torch.device | Sequence[str | torch.device] = "cpu",
        memory_limit: int | None = None,
        trust_remote_code: bool = False,
        merged: bool = True,
        check: bool = True,
        parallelize: bool = False,
        max_memory_per_gpu: int | str | None = None,
    ) -> "MergeSession":
        """Check a recipe and its inputs, hold them, and create the live model.

        Args:
            recipe: a file, a checked Recipe, its mapping, or mergekit's configuration.
            device: one device or several.
            memory_limit: bytes of constituents that one GPU may hold; None: as many as fit, and none with
                `parallelize`.
            trust_remote_code: as in transformers.
            merged: False leaves the base in the model until the first `apply`.
            check: run the checks of `mergekit-finance check`, too. Their warnings are printed to stderr, once
                per process.
            parallelize: spread the live model over the devices, layer by layer, with accelerate; `cuda`
                stands for all GPUs.
            max_memory_per_gpu: with `parallelize`, bytes of the live model that one GPU may hold, or a text
                such as `40GiB`; None: most of its free memory.

        Returns:
            An open session; its `model` and `tokenizer` are live. Close it, or use it as a context manager.

        Raises:
            RecipeError: the recipe is wrong, or its method cannot be swept.
            ModelError: a model is missing, broken or does not fit the others; a device cannot be used, or
                cannot hold the merged model.
        """
        names = device if isinstance(device, Sequence) and not isinstance(device, str) else [device]
        spread = Spread.over(list(map(str, names)), max_memory_per_gpu) if parallelize else None
        devices = [usable_device(name) for name in (spread.devices if spread else names)]
        if not devices:
            raise ModelError("device: is empty; name at least one, such as cpu or cuda")
        opened = open_recipe(recipe, trust_remote_code, str(devices[0]), check)
        session = cls(opened.method, opened.tensors, opened.buffers)
        device_map = spread.device_map(opened.side_files.config) if spread else {"": "cpu"}
        bases = session._bases(device_map)
        session.model = opened.side_files.live_model(bases, device_map if spread else None)
        session.tokenizer = opened.side_files.tokenizer
        # The model comes first: constituents can be streamed if memory is short, the model cannot.
        session._bind_parameters(None if spread else devices[0])
        if spread:
            place_with_targets(opened.tensors, memory_limit or 0)
        else:
            place(opened.tensors, devices, memory_limit)
        if merged:
            session.apply()
        return session

    def prepare(self, **grid: Iterable[PointValue]) -> None:
        """Rank magnitudes and count signs for all densities of a sweep at once: `density=[0.1, 0.2]`.

        Args:
            grid: `density`, the densities that later calls of `apply` will use. Other densities work too, but
                slower.

        Raises:
            RecipeError: a density is wrong, or there is another parameter than density.
        """
        densities = grid.pop("density", ())
        if grid or isinstance(densities, str) or not isinstance(densities, Iterable):
            raise RecipeError("prepare takes density=[...], a list of numbers")
        self._check_open()
        points = [self._check({"density": value}) for value in densities]  # all before any counting
        if not self._method.ranks_whole_vector:
            return
        for model in self._experts:
            self._with_less_memory(partial(self._rank, model, points))
        for point in points if self._paper else ():
            self._with_less_memory(partial(self._count_balance, point))

    def apply(self, **values: PointValue) -> "PreTrainedModel":
        """Merge a point into the live model, and return it.

        Args:
            values: `lambda_`, `seed`; `density`, `weight`: one value, or a mapping by model reference or
                mask_id. Other values are the recipe's.

        Raises:
            RecipeError: a value is wrong; the model is unchanged.
            ModelError: the merge overflows, or memory ran out on every device.
        """
        point = self._check(values)
        self._with_less_memory(partial(self._merge_all, point))
        require_all_finite((t.name, t.target.data) for t in self._tensors if t.target is not None)
        return self.model

    def close(self) -> None:
        """Release the constituents. The model stays."""
        self._tensors.clear()
        self._cuts.clear()

    def __enter__(self) -> "MergeSession":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- the live model

    def _bases(self, device_map: Mapping[str, str]) -> dict[str, torch.Tensor]:
        """Return copies of the base's tensors in the outputs' dtypes, each where the live model has it."""
        bases = {
            t.name: t.group.base.tensor.to(device_of(t.name, device_map), t.dtype, copy=True)
            for t in self._tensors
        }
        return {**bases, **self._buffers}

    def _bind_parameters(self, device: torch.device | None) -> None:
        """Find each output tensor's parameter in the live model, which is moved to a device before."""
        if device is not None and device.type != "cpu":
            try:
                self.model.to(device)  # type: ignore[arg-type]  # transformers declares the wrapped method wrongly
            except torch.OutOfMemoryError as error:
                raise ModelError(
                    f"{device} cannot hold the merged model itself ({first_line(error)}). Use another device."
                ) from error
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        bound: dict[int, OutputTensor] = {}  # by the parameter's id
        for tensor in self._tensors:
            parameter = parameters.get(tensor.name)
            if parameter is None or parameter.shape != tensor.group.tensors[0].shape:
                raise ModelError(
                    f"{type(self.model).__name__} has no parameter {tensor.name} of the merged shape, so "
                    "that points cannot be merged into it. Merge them with mergekit-yaml.",
                    id="merge.incomplete",
                )
            if id(parameter) in bound and not _equal(bound[id(parameter)], tensor):
                parameter = untie(self.model, tensor.name)
            if id(parameter) not in bound:  # else tied: the first tensor fills it
                tensor.target, bound[id(parameter)] = parameter, tensor

    # ---- points

    def _check(self, values: Mapping[str, PointValue]) -> PointValues:
        self._check_open()
        mask_ids = self._tensors[0].parameters["mask_id"]
        point = check_point(values, self._method, {model: mask_ids[model] for model in self._experts})
        for model, density in point.density.items() if self._paper else ():
            if top_k.exact_count(density, self._cuts.size) == 0:
                raise RecipeError(f"{model}: density {density} keeps none of the {self._cuts.size} elements")
        return point

    def _check_open(self) -> None:
        if not self._tensors:
            raise RecipeError("this session is closed; open another")

    def _rank(self, model: Hashable, points: list[PointValues]) -> None:
        """Compute one expert's cuts for all points."""
        if self._paper:
            self._cuts.rank_model(model, [_density(self._tensors[0], p, model) for p in points])
            return
        for tensor in self._tensors:
            self._cuts.rank_tensor(tensor, model, [_density(tensor, p, model) for p in points])

    def _merge_all(self, point: PointValues) -> None:
        """Merge all tensors."""
        if self._paper and self._method.ranks_whole_vector:
            self._merge_paper_ties(point)
            return
        for tensor in self._filled():
            with self._output(tensor) as out:
                self._method.merge_into(out, self._call(tensor, point))

    def _merge_paper_ties(self, point: PointValues) -> None:
        """Merge all tensors by TIES in paper semantics.

        Where a sum is exactly 0, the majority sign of the whole vector is elected. If it was not counted yet,
        it is guessed, and counted during the merge; if the guess was wrong, everything is merged again.
        """
        key = self._vote_key(point)
        balance = self._balances.get(key, 1 if len(self._experts) == 1 else None)  # one expert never cancels
        majority = self._guess if balance is None else sign(balance)
        options = PassOptions(majority, "balance" if balance is None else "nothing")
        balances = []
        for tensor in self._filled():
            call = self._call(tensor, point)
            terms, rule = self._method.terms(call)
            with self._output(tensor) as out:
                result = dispatch.merge(out, call.stored, terms, rule, options)
            if not tensor.tied_to:
                balances.append(result.balance)
        if balance is None:
            balance = self._balances[key] = dispatch.total_balance(balances)
            self._guess = sign(balance) or 1  # similar densities usually have the same majority
            if sign(balance) != majority:
                self._merge_paper_ties(point)

    def _count_balance(self, point: PointValues) -> None:
        """Count a point's sign balance before it is merged.

        This pass saves time only if merging twice would take longer: on GPUs that hold all inputs.
        """
        if len(self._experts) == 1 or any(t.streamed or t.device.type == "cpu" for t in self._tensors):
            return
        key = self._vote_key(point)
        if key not in self._balances:
            calls = [self._call(tensor, point) for tensor in self._tensors if not tensor.tied_to]
            counts = [dispatch.sign_balance(call.stored, self._method.terms(call)[0]) for call in calls]
            self._balances[key] = dispatch.total_balance(counts)

    def _vote_key(self, point: PointValues) -> str:
        """Return a key of the values that decide the majority sign; points with the same key share it."""
        density = point.applied_to(self._tensors[0].parameters)["density"]
        # A filter can give every tensor a weight of its own.
        weights = [dict(point.applied_to(tensor.parameters)["weight"]) for tensor in self._tensors]
        return repr((sorted(map(repr, density.items())), weights))

    def _filled(self) -> Iterator[OutputTensor]:
        """Yield all tensors except those that share the parameter of another one."""
        return (tensor for tensor in self._tensors if not (tensor.tied_to and tensor.target is None))

    def _call(self, tensor: OutputTensor, point: PointValues) -> Call:
        call = Call.of(tensor.inputs(), point.applied_to(tensor.parameters))
        return replace(call, cuts=self._cuts) if self._method.ranks_whole_vector else call

    @contextmanager
    def _output(self, tensor: OutputTensor) -> Iterator[torch.Tensor]:
        """Yield where to merge: the parameter itself if it has the dtype and device, else a copy of it."""
        target = None if tensor.target is None else tensor.target.data
        if target is not None and (target.dtype, target.device) == (tensor.dtype, tensor.device):
            if target.is_contiguous():
                yield target
                return
        out = torch.empty(tensor.group.tensors[0].shape, dtype=tensor.dtype, device=tensor.device)
        yield out
        if target is not None:
            target.copy_(out)

    def _with_less_memory(self, work: Callable[[], None]) -> None:
        """Run `work`. If memory runs out, run it again with streamed inputs, and then on the CPU."""
        while True:
            try:
                return work()
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if not (change := use_less_memory(self._tensors)):
                    raise ModelError(
                        f"out of memory on the CPU ({first_line(error)}). The live model is only partly "
                        "merged until the next point is applied."
                    ) from error
                LOG.warning("a device ran out of memory (%s): %s", first_line(error), change)


class _SessionCuts:
    """The cuts of a session's task vectors, ranked once for all points (protocol `CutSource`).

    It holds no reference to the session: in a cycle, only the garbage collector would free the model.
    """

    def __init__(self, tensors: list[OutputTensor], experts: list[Hashable], paper: bool) -> None:
        self._by_name = {tensor.name: tensor for tensor in tensors}
        self._paper = paper
        names = [tensor.name for tensor in tensors if not tensor.tied_to]
        self.size = sum(self._by_name[name].group.tensors[0].numel() for name in names)  # of a task vector
        self._sweep = SweepCuts(names, experts, partial(_read_pair, self._by_name))

    def rank_model(self, model: Hashable, densities: list[float]) -> None:
        """Compute the cuts of one expert's whole vector for several densities."""
        self._sweep.rank_model(model, [top_k.exact_count(d, self.size) for d in densities if d < 1])

    def rank_tensor(self, tensor: OutputTensor, model: Hashable, densities: list[float]) -> None:
        """Compute the cuts of one tensor of an expert for several densities."""
        if n := tensor.group.tensors[0].numel():
            counts = [kept_by_mergekit(d, n) for d in densities if d < 1]
            self._sweep.rank_tensor(tensor.name, model, counts)

    def cut(self, call: Call, expert: ExpertParameters) -> Cut | None:
        """Return where an expert's tensor is cut; None: nowhere."""
        if expert.density >= 1:
            return None
        if self._paper:
            name = self._by_name[call.name].tied_to or call.name
            return self._sweep.model_cut(name, expert.id, top_k.exact_count(expert.density, self.size))
        return self._sweep.tensor_cut(
            call.name, expert.id, kept_by_mergekit(expert.density, call.stored.numel())
        )

    def clear(self) -> None:
        """Release the inputs."""
        self._by_name.clear()


def _equal(first: OutputTensor, second: OutputTensor) -> bool:
    """Return whether two tensors have the same values in every model."""
    pairs = zip(first.group.tensors, second.group.tensors, strict=True)
    return all(a.data_ptr() == b.data_ptr() or torch.equal(a, b) for a, b in pairs)


def _read_pair(tensors: Mapping[str, OutputTensor], name: str, model: Hashable) -> Pair:
    group = tensors[name].inputs()
    return group.base.tensor, next(entry.tensor for entry in group.non_base if entry.id == model)


def _density(tensor: OutputTensor, point: PointValues, model: Hashable) -> float:
    parameters: Parameters = point.applied_to(tensor.parameters)
    return parameters["density"][model]
