"""MergeSession: constituents opened once, and any number of points written into one live model.

    with MergeSession.open("recipe.yml") as session:
        session.prepare(density=[0.1, 0.2, 0.5])
        for density in (0.1, 0.2, 0.5):
            evaluate(session.apply(density=density), session.tokenizer)

A point is bit for bit what `mergekit-yaml` writes for the same recipe with the same values (mergekit
semantics of DARE: with the same number of torch threads, on the same kind of device). Only our three
methods can be swept; the semantics are the recipe's.

Where constituents are: on the CPU they are mapped from their files, and the operating system keeps what
fits. On GPUs they are held in their own dtypes, each output tensor's inputs on one device, as long as
`memory_limit` and the device allow; the rest stay on the CPU and travel at every point. A device that
runs out of memory is named, and what it cannot hold is streamed.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mergekit_finance.engine import dispatch, top_k
from mergekit_finance.engine.finite import require_finite
from mergekit_finance.engine.sweep_cuts import SweepCuts
from mergekit_finance.engine.terms import PassOptions
from mergekit_finance.errors import ModelError, RecipeError

if TYPE_CHECKING:
    from mergekit.config import MergeConfiguration
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LOG = logging.getLogger(__name__)
Values = Mapping[str, Any]


@dataclass
class Held:
    """One output tensor: its inputs, its settled parameters, where it goes."""

    group: Any  # mergekit's TensorGroup, on `device`
    values: Values
    device: torch.device  # that merges it
    dtype: torch.dtype  # that mergekit-yaml would write
    tied_to: str | None
    streamed: bool = False
    host: Any = None  # the group on the CPU, where it was mapped
    target: torch.nn.Parameter | None = None

    @property
    def name(self) -> str:
        return self.group.metadata.name

    @property
    def size(self) -> int:
        """Bytes of the inputs."""
        return sum(t.numel() * t.element_size() for t in self.group.tensors)

    def inputs(self) -> Any:
        """The group, on the device that merges it."""
        return _moved(self.group, self.device) if self.streamed else self.group


class MergeSession:
    """See the module. Made by `open`; use as a context manager, or call `close`.

    Raises RecipeError for values that cannot be, ModelError for models, files and devices that do not serve.
    """

    def __init__(self, method: Any, held: list[Held], buffers: dict[str, torch.Tensor]) -> None:
        self._method, self._held, self._buffers = method, held, buffers
        self._by_name = {h.name: h for h in held}
        first = held[0]
        self._experts = [entry.id for entry in first.group.non_base]
        self._paper = first.values["semantics"] == "paper"
        counted = [h.name for h in held if not h.tied_to]
        self._size = sum(self._by_name[n].group.tensors[0].numel() for n in counted)
        self._ranks = SweepCuts(counted, self._experts, self._pair)
        self._balance: dict[Any, int] = {}
        self._guess = 1
        self.model: PreTrainedModel
        self.tokenizer: PreTrainedTokenizerBase

    @classmethod
    def open(
        cls,
        recipe: "str | Path | Mapping[str, Any] | MergeConfiguration | Any",
        *,
        device: "str | torch.device | Sequence[str | torch.device]" = "cpu",
        memory_limit: int | None = None,
        trust_remote_code: bool = False,
        merged: bool = True,
    ) -> "MergeSession":
        """Check a recipe and its inputs, place them, and make the live model, merged as the recipe says.

        `recipe` is a file, a checked Recipe, mergekit's configuration or its mapping; `device` one or
        several; `memory_limit` the bytes of constituents that one GPU may hold. With `merged=False` the
        model holds the base until the first `apply`.
        """
        from mergekit_finance.merging import opening

        named = device if isinstance(device, Sequence) and not isinstance(device, str) else [device]
        places = [_device(d) for d in named]
        if not places:
            raise ModelError("device: name at least one, such as cpu or cuda")
        opened = opening.read(recipe, trust_remote_code)
        held = [Held(*parts) for parts in opened.tensors]
        session = cls(opened.method, held, opened.buffers)
        session.model, session.tokenizer = opened.live(session._bases())
        session._aim(places[0])  # before the constituents: they can be streamed, the model cannot
        place(held, places, memory_limit)
        if merged:
            session.apply()
        return session

    def _bases(self) -> dict[str, torch.Tensor]:
        """The base in the outputs' dtypes and in memory of its own, on the CPU."""
        bases = {h.name: h.group.base.tensor.to("cpu", h.dtype, copy=True) for h in self._held}
        return {**bases, **self._buffers}

    def _aim(self, device: torch.device) -> None:
        """Find each tensor's parameter in the live model."""
        if device.type != "cpu":
            try:
                self.model.to(device)
            except torch.OutOfMemoryError as fault:
                raise ModelError(f"{device} cannot hold the merged model itself ({_first(fault)})") from fault
        found = dict(self.model.named_parameters(remove_duplicate=False))
        taken: set[int] = set()
        for held in self._held:
            parameter = found.get(held.name)
            if parameter is None or parameter.shape != held.group.tensors[0].shape:
                raise ModelError(
                    f"{type(self.model).__name__} has no parameter {held.name} of the merged shape: this "
                    "architecture cannot be swept in place; merge its points with mergekit-yaml"
                )
            if id(parameter) in taken:  # tied: the first one fills it
                self._refuse_untied(held, parameter)
            else:
                held.target = parameter
            taken.add(id(parameter))

    def _refuse_untied(self, held: Held, parameter: torch.nn.Parameter) -> None:
        """One parameter cannot hold two merged tensors: the files may hold what the config says is tied."""
        first = next(h for h in self._held if h.target is parameter)
        pairs = zip(first.group.tensors, held.group.tensors, strict=True)
        if not all(a.data_ptr() == b.data_ptr() or torch.equal(a, b) for a, b in pairs):
            raise ModelError(
                f"{held.name} and {first.name} are one in {type(self.model).__name__}, whose config ties "
                "them, and two in the models' files; say tie_word_embeddings: false in config.json, or merge "
                "the points with mergekit-yaml"
            )

    # ---- points

    def prepare(self, **grid: Any) -> None:
        """Do at once, for all values of a sweep, what each would do alone: `density=[0.1, 0.2]`."""
        wanted = grid.pop("density", ())
        if grid or isinstance(wanted, str) or not isinstance(wanted, Iterable):
            raise RecipeError("prepare takes density=[...], a list of numbers")
        self._refuse_closed()
        settings = [self._settings({"density": value}) for value in wanted]  # all checked before any counting
        if not self._method.ranks_whole_vector:
            return
        for model in self._experts:
            self._fitting(lambda model=model: self._rank(model, settings))
        for values in settings if self._paper else ():
            self._fitting(lambda values=values: self._elect(values))

    def _rank(self, model: Any, settings: list[Callable[[Held], Values]]) -> None:
        if self._paper:
            densities = [values(self._held[0])["density"][model] for values in settings]
            self._ranks.rank_model(model, [self._count(d) for d in densities if d < 1])
            return
        for held in self._held:
            self._rank_alone(held, model, [values(held)["density"][model] for values in settings])

    def _rank_alone(self, held: Held, model: Any, densities: Sequence[float]) -> None:
        from mergekit_finance.merge_methods.ties import host_count

        n = held.group.tensors[0].numel()
        if n:
            self._ranks.rank_tensor(held.name, model, [host_count(d, n) for d in densities if d < 1])

    def apply(self, **overrides: Any) -> "PreTrainedModel":
        """Write a point into the live model: `lambda_`, `density` and `weight` (one value, or a mapping by
        model reference or mask_id), `seed`; what is not given is as in the recipe."""
        settings = self._settings(overrides)
        self._fitting(lambda: self._merge_all(settings))
        self._refuse_overflow(settings)
        return self.model

    def _refuse_overflow(self, settings: Callable[[Held], Values]) -> None:
        from mergekit_finance.merge_methods.parameters import Call

        for held in self._filled():
            # Where it lies: a streamed tensor need not travel again.
            call = Call.of(held.group, settings(held))
            if held.target is not None and call.may_overflow(held.dtype):
                require_finite(held.name, held.target.data)

    def _fitting(self, work: Callable[[], None]) -> None:
        """Do it by the largest plan that fits: constituents on the devices, streamed, or all on the CPU.
        Where none does, the live model is left with some tensors merged and some not."""
        while True:
            try:
                return work()
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as fault:
                if not _short_of_memory(fault):
                    raise
                if not (plan := smaller(self._held)):
                    raise ModelError(
                        f"out of memory on the CPU ({_first(fault)}); the live model is not whole until the "
                        "next point is applied"
                    ) from fault
                LOG.warning("a device ran out of memory (%s): %s", _first(fault), plan)

    def close(self) -> None:
        """Let go of the constituents; the model stays."""
        from mergekit.io.tasks import LoaderCache

        self._held.clear()
        self._by_name.clear()
        self._ranks = SweepCuts([], [], _no_inputs)  # those before refer to this session
        LoaderCache.loaders.clear()

    def __enter__(self) -> "MergeSession":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- values

    def _settings(self, overrides: Values) -> Callable[[Held], Values]:
        """A tensor's parameters under the overrides, which are checked first."""
        from mergekit_finance.merging import overriding

        self._refuse_closed()
        mask_ids = self._held[0].values["mask_id"]
        changes = overriding.checked(overrides, self._method, {m: mask_ids[m] for m in self._experts})
        for model, density in changes.get("density", {}).items() if self._paper else ():
            if self._count(density) == 0:
                raise RecipeError(f"{model}: density {density} keeps none of the {self._size} elements")
        return lambda held: overriding.applied(held.values, changes)

    def _refuse_closed(self) -> None:
        if not self._held:
            raise RecipeError("this session is closed; open another")

    def _count(self, density: float) -> int:
        return top_k.exact_count(density, self._size)

    # ---- what a method asks of `call.whole`

    def cut(self, name: str, model: Any, base: torch.Tensor, expert: torch.Tensor) -> Any:
        """Paper TIES: where a tensor is cut."""
        density = self._densities[model]
        held = self._by_name[name]
        return (
            None if density >= 1 else self._ranks.model_cut(held.tied_to or name, model, self._count(density))
        )

    def cut_alone(self, call: Any, expert: Any) -> Any:
        """mergekit TIES: where a tensor is cut by its own magnitudes."""
        from mergekit_finance.merge_methods.ties import host_count

        return self._ranks.tensor_cut(call.name, expert.id, host_count(expert.density, call.stored.numel()))

    def _pair(self, name: str, model: Any) -> tuple[torch.Tensor, torch.Tensor]:
        group = self._by_name[name].inputs()
        return group.base.tensor, next(e.tensor for e in group.non_base if e.id == model)

    # ---- merging

    def _merge_all(self, values: Callable[[Held], Values]) -> None:
        """All tensors. Paper TIES elects the whole vector's majority where sums cancel: its sign is
        guessed first and counted on the way; if the guess was wrong, all is merged again."""
        self._densities = dict(values(self._held[0]).get("density", {}))
        if not (self._paper and self._method.ranks_whole_vector):
            for held in self._filled():
                with self._destination(held) as out:
                    self._method.merge_into(out, self._call(held, values(held)))
            return
        key = self._election(values)
        known = self._balance.get(key, 1 if len(self._experts) == 1 else None)  # one alone has its majority
        guess, balances = self._guess if known is None else _sign(known), []
        for held in self._filled():
            call = self._call(held, values(held))
            terms, rule = self._method.terms(call)
            with self._destination(held) as out:
                options = PassOptions(guess, "balance" if known is None else "nothing")
                elected = dispatch.merge(out, call.stored, terms, rule, options)
            if not held.tied_to:
                balances.append(elected.balance)
        if known is None:
            balance = self._balance[key] = dispatch.total_balance(balances)
            self._guess = _sign(balance) or 1  # densities near each other mostly agree on it
            if _sign(balance) != guess:
                self._merge_all(values)

    def _election(self, values: Callable[[Held], Values]) -> str:
        """What the whole vector's majority depends on: points that agree in it share it."""
        weights = [dict(values(held)["weight"]) for held in self._held]  # a filter gives tensors their own
        return repr((sorted(map(repr, self._densities.items())), weights))

    def _elect(self, values: Callable[[Held], Values]) -> None:
        """Count a density's majority beforehand. Worth a pass where merging again costs more than waiting:
        on GPUs; a streamed tensor would travel once more for it."""
        if len(self._experts) == 1 or any(h.streamed or h.device.type == "cpu" for h in self._held):
            return
        self._densities = dict(values(self._held[0])["density"])
        if (key := self._election(values)) not in self._balance:
            calls = [self._call(held, values(held)) for held in self._held if not held.tied_to]
            found = [dispatch.sign_balance(call.stored, self._method.terms(call)[0]) for call in calls]
            self._balance[key] = dispatch.total_balance(found)

    def _filled(self) -> Iterator[Held]:
        """All but the repeats of a tied tensor, whose parameter is the tensor's own."""
        return (held for held in self._held if not (held.tied_to and held.target is None))

    def _call(self, held: Held, values: Values) -> Any:
        from mergekit_finance.merge_methods.parameters import Call

        call = Call.of(held.inputs(), values)
        return replace(call, whole=self) if self._method.ranks_whole_vector else call

    @contextmanager
    def _destination(self, held: Held) -> Iterator[torch.Tensor]:
        """Where the merge writes: into the parameter itself if dtype and device are its own."""
        goal = None if held.target is None else held.target.data
        shape = held.group.tensors[0].shape
        if goal is not None and (goal.dtype, goal.device) == (held.dtype, held.device):
            if goal.is_contiguous():
                yield goal
                return
        out = torch.empty(shape, dtype=held.dtype, device=held.device)
        yield out
        if goal is not None:
            goal.copy_(out)


def _no_inputs(name: str, model: object) -> tuple[torch.Tensor, torch.Tensor]:
    raise RecipeError("this session is closed; open another")


def _device(name: "str | torch.device") -> torch.device:
    """One that is there and takes tensors."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # "meta" holds no numbers
    except (RuntimeError, AssertionError, TypeError) as fault:
        raise ModelError(f"device {str(name)!r} cannot be used ({_first(fault)})") from fault
    return device


def _short_of_memory(fault: BaseException) -> bool:
    """The CPU's allocator raises a plain RuntimeError."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(fault, kinds) or "can't allocate memory" in str(fault)


def _first(fault: BaseException) -> str:
    return next(iter(str(fault).splitlines()), type(fault).__name__)


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


# ---- places


def place(held: list[Held], devices: Sequence[torch.device], limit: int | None = None) -> None:
    """Give every tensor's inputs to the device with the least so far, largest first."""
    load = {i: 0 for i in range(len(devices))}
    full: set[int] = set()
    for tensor in sorted(held, key=lambda h: (-h.size, h.name)):
        index = min(load, key=lambda i: (load[i], i))
        device, size = devices[index], tensor.size
        load[index] += size
        tensor.device, tensor.host = device, tensor.group
        if device.type == "cpu":
            continue
        tensor.streamed = index in full or (limit is not None and load[index] > limit)
        if tensor.streamed:
            continue
        try:
            tensor.group = _moved(tensor.group, device)
        except torch.OutOfMemoryError:
            LOG.warning(
                "%s ran out of memory at %s, after %.1f GB of constituents: the rest stay on the CPU and are "
                "streamed at every point",
                device,
                tensor.name,
                (load[index] - size) / 1e9,
            )
            full.add(index)
            tensor.streamed = True


def smaller(held: list[Held]) -> str:
    """Take up the next smaller plan, and say which; nothing if there is none."""
    away = [h for h in held if h.device.type != "cpu"]
    if not away:
        return ""
    resident = [h for h in away if not h.streamed]
    for tensor in resident or away:
        tensor.group = tensor.host
        tensor.streamed, tensor.device = bool(resident), tensor.device if resident else torch.device("cpu")
    return "constituents are streamed at every point" if resident else "merging on the CPU"


def _moved(group: Any, device: torch.device) -> Any:
    entries = tuple(replace(e, tensor=e.tensor.to(device, non_blocking=True)) for e in group.entries)
    return replace(group, entries=entries)
