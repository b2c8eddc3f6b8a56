"""Continue the pre-training of the base on one domain.

In recipes/smollm2-135m: `python -m smollm2.train NAME --base BASE --tokens TOKENS --out OUT` trains one
expert (`finance_a`, ...); `--all` trains all, with `--per-gpu` processes for each GPU. An interrupted run
resumes from its last checkpoint. A finished expert is not trained again.

Weights and optimizer are float32, forward and backward passes are bfloat16 (autocast) on a GPU. OUT/NAME has
the model in bfloat16, its tokenizer, and training.json: settings, losses, held-out losses of all texts before
and after, time, memory, and the sha256 of the weights.
"""

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from mergekit_finance.files import atomic_path, sha256_file

from .corpora import TEXTS
from .plans import Plan, expert_plans

RECORD = "training.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
HELD_OUT_ROWS = 64
SAVE_EVERY = 200  # steps
LOSS_PARTS = 4  # the logits of a batch are computed in so many parts
PartLoss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
RATE_FROM = 20  # steps that are not counted in the rate: compilation


class Trainer:
    """The training of one expert.

    Attributes:
        name, plan: the expert.
        out: the folder of all experts.
        steps: the number of steps.
        step: finished steps.
        losses: (step, loss), as logged.
        seconds: training time so far, including that before a checkpoint.
    """

    def __init__(self, name: str, plan: Plan, base: Path, folder: Path, out: Path, device: str) -> None:
        self.name, self.plan, self.base, self.out, self.device = name, plan, base, out, device
        self.texts = {text: _rows(folder / f"{text}.held_out.npy", plan.length) for text in TEXTS}
        self.rows = _rows(folder / f"{plan.domain}.train.npy", plan.length)
        self.steps = plan.steps(self.rows.size)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="sdpa")
        model.config.use_cache = False
        self.model: LlamaForCausalLM = model.to(device)
        self.optimizer = self._optimizer()
        self.step, self.seconds, self.rate_seconds = 0, 0.0, 0.0
        self.losses: list[tuple[int, float]] = []
        self.before: dict[str, float] = {}
        self.part_loss: PartLoss = part_loss
        self._order = batches(plan, len(self.rows))

    def _optimizer(self) -> torch.optim.Optimizer:
        plan, parameters = self.plan, list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": plan.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        fused = self.device.startswith("cuda")
        return torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.95), fused=fused)

    # ---- checkpoints

    @property
    def checkpoint(self) -> Path:
        """The checkpoint file."""
        return self.out / "checkpoints" / f"{self.name}.pt"

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state = {
            "plan": asdict(self.plan), "step": self.step, "seconds": self.seconds, "losses": self.losses,
            "rate_seconds": self.rate_seconds, "before": self.before,
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip
        with atomic_path(self.checkpoint) as scratch:
            torch.save(state, scratch)

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one. Exit if it was written under another plan."""
        if not self.checkpoint.is_file():
            return
        stored = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if stored["plan"] != asdict(self.plan):
            raise SystemExit(f"Error: {self.checkpoint}: of another plan. Delete it or choose another --out.")
        self.model.load_state_dict(stored["model"])
        self.optimizer.load_state_dict(stored["optimizer"])
        self.seconds, self.rate_seconds = stored["seconds"], stored["rate_seconds"]
        self.losses = [(step, loss) for step, loss in stored["losses"]]
        self.before = stored["before"]
        while self.step < stored["step"]:
            next(self._order)
            self.step += 1

    # ---- steps

    def run(self, deadline: float = float("inf")) -> bool:
        """Train to the last step, or until a time of `time.monotonic`; then write a checkpoint.

        Returns:
            Whether the last step is done.
        """
        self.before = self.before or self.held_out()
        while self.step < self.steps:
            started = time.monotonic()
            if started > deadline:
                self.save()
                return False
            loss = self.advance()
            if self.step % 20 == 0 or self.step == self.steps:
                self.losses.append((self.step, round(loss.item(), 5)))
                self._log()
            seconds = time.monotonic() - started
            self.seconds += seconds
            self.rate_seconds += seconds if self.step > RATE_FROM else 0.0
            if self.step % SAVE_EVERY == 0 and self.step < self.steps:
                self.save()
        return True

    def _log(self) -> None:
        text = f"{self.name} {self.step}/{self.steps} loss {self.losses[-1][1]:.3f} {self.seconds:.0f} s"
        print(text, file=sys.stderr, flush=True)

    def advance(self) -> torch.Tensor:
        """Train one step and return its loss, a scalar tensor."""
        plan = self.plan
        rows = torch.from_numpy(self.rows[next(self._order)].astype(np.int64)).to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = plan.rate_at(self.step, self.steps)
        self.model.train()
        total = torch.zeros((), device=self.device)
        for part in rows.split(plan.micro_batch):
            loss = self._loss(part) * (len(part) / len(rows))
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return total

    def _loss(self, ids: torch.Tensor) -> torch.Tensor:
        kind = self.device.split(":")[0]
        with torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"):
            return loss_of(self.model, ids, self.part_loss)

    @torch.no_grad()
    def held_out(self) -> dict[str, float]:
        """Return the loss of every held-out text, in nats a token."""
        self.model.eval()
        losses = {}
        for name, rows in self.texts.items():
            ids = torch.from_numpy(rows[:HELD_OUT_ROWS].astype(np.int64)).to(self.device)
            parts = [self._loss(part).item() * len(part) for part in ids.split(self.plan.micro_batch)]
            losses[name] = round(sum(parts) / len(ids), 5)
        return losses

    def write(self) -> None:
        """Write the finished model and its record, and delete the checkpoint."""
        folder = self.out / self.name
        record = {
            "name": self.name, "plan": asdict(self.plan), "steps": self.steps,
            "tokens": self.steps * self.plan.batch * self.plan.length,
            "unique_tokens": int(self.rows.size), "held_out_before": self.before,
            "held_out_after": self.held_out(), "losses": self.losses,
            "seconds": round(self.seconds, 1), **_machine(self.device), **self._rate(),
        }  # fmt: skip
        record["passes"] = round(record["tokens"] / record["unique_tokens"], 3)
        with atomic_path(folder) as scratch:
            self.model.to(torch.bfloat16).save_pretrained(scratch)
            for file in TOKENIZER_FILES:
                if (self.base / file).is_file():
                    shutil.copyfile(self.base / file, scratch / file)
            record["sha256"] = sha256_file(scratch / "model.safetensors")
            (scratch / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        self.checkpoint.unlink(missing_ok=True)

    def _rate(self) -> dict[str, float]:
        tokens = max(0, self.steps - RATE_FROM) * self.plan.batch * self.plan.length
        return {"tokens_per_second": round(tokens / self.rate_seconds) if self.rate_seconds else 0}


def _machine(device: str) -> dict[str, object]:
    """Return the device, its peak memory in bytes, and the version of torch."""
    is_gpu = device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(device) if is_gpu else "CPU",
        "peak_memory": torch.cuda.max_memory_allocated(device) if is_gpu else 0,
        "torch": torch.__version__,
    }


def _rows(path: Path, length: int) -> np.ndarray:
    """Return the tokens of a file as whole rows: (rows, length) uint16."""
    tokens = np.load(path)
    count = len(tokens) // length
    rows: np.ndarray = tokens[: count * length].reshape(count, length)
    return rows


def batches(plan: Plan, rows: int) -> Iterator[np.ndarray]:
    """Yield the row numbers of each step, endlessly. Each pass over the rows has another order."""
    order, number = np.zeros(0, dtype=np.int64), 0
    while True:
        while len(order) < plan.batch:
            fresh = np.random.default_rng([plan.seed, number]).permutation(rows)
            order, number = np.concatenate([order, fresh]), number + 1
        yield order[: plan.batch]
        order = order[plan.batch :]


def part_loss(states: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the sum of the cross-entropy of some tokens, a scalar.

    Args:
        states: last hidden states, (rows, tokens, hidden).
        head: the weights of the output head, (vocabulary, hidden).
        targets: the token after each, (rows, tokens).
    """
    logits = torch.nn.functional.linear(states, head).float().flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits, targets.flatten(), reduction="sum")


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, part_loss: PartLoss = part_loss) -> torch.Tensor:
    """Return the mean cross-entropy of every token but the first of each row (rows, length), a scalar."""
    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
    targets = ids[:, 1:]
    total = torch.zeros((), device=ids.device)
    for states, wanted in zip(hidden.chunk(LOSS_PARTS), targets.chunk(LOSS_PARTS), strict=True):
        total = total + part_loss(states, model.lm_head.weight, wanted)
    return total / targets.numel()


def compile_parts(trainer: Trainer) -> None:
    """Compile the layers of the model, which share their code, and the loss; what cannot be compiled is not.

    The compiled loss reads and writes the logits of a batch, which are large, once instead of five times. The
    state is the same before and after: a forward and backward pass, whose gradients are dropped.
    """
    layers = trainer.model.model.layers
    for layer in layers:
        layer.compile()
    trainer.part_loss = torch.compile(part_loss)
    if not _steps(trainer, "loss"):
        trainer.part_loss = part_loss
        if not _steps(trainer, "layers"):
            for layer in layers:
                layer._compiled_call_impl = None


def _steps(trainer: Trainer, part: str) -> bool:
    """Return whether a forward and backward pass works; if not, print that this part is not compiled."""
    ids = torch.from_numpy(trainer.rows[: trainer.plan.micro_batch].astype(np.int64)).to(trainer.device)
    trainer.model.train()
    try:
        trainer._loss(ids).backward()
    except Exception as error:  # whatever the compiler raises: training works without it
        reason = str(error).splitlines()[:1]
        print(f"{trainer.name}: {part} not compiled ({reason})", file=sys.stderr, flush=True)
        return False
    finally:
        trainer.optimizer.zero_grad(set_to_none=True)
    return True


# ---- commands


def is_finished(out: Path, name: str) -> bool:
    """Return whether an expert is trained."""
    return (out / name / RECORD).is_file()


def train(
    name: str,
    plan: Plan,
    base: Path,
    tokens: Path,
    out: Path,
    device: str = "cpu",
    deadline: float = float("inf"),
    compiled: bool = False,
) -> bool:
    """Train one expert and write it, and return whether it is finished.

    Args:
        name, plan: the expert.
        base: the folder of the base.
        tokens: the folder that `smollm2.tokens` wrote.
        out: the folder of all experts.
        device: cpu, cuda or cuda:1.
        deadline: the time of `time.monotonic` at which to stop and write a checkpoint.
        compiled: whether the layers and the loss are compiled.
    """
    if is_finished(out, name):
        return True
    torch.set_float32_matmul_precision("high")
    trainer = Trainer(name, plan, base, tokens, out, device)
    if compiled:
        compile_parts(trainer)
    trainer.resume()
    finished = trainer.run(deadline)
    if finished:
        trainer.write()
    return finished


def train_all(
    names: Sequence[str], arguments: Sequence[str], devices: Sequence[str], deadline: float
) -> None:
    """Train experts with one process at a time for each entry of `devices`; each takes the next of a queue.

    Args:
        names: the experts.
        arguments: options of this command that all processes get.
        devices: cuda:0, cuda:1, ... or cpu. A device that is listed twice trains two experts at a time.
        deadline: the time of `time.monotonic` at which to stop.

    Raises:
        SystemExit: a process failed or stopped for time; the others went on.
    """
    waiting: queue.Queue[str] = queue.Queue()
    for name in names:
        waiting.put(name)
    failed: list[str] = []

    def work(device: str) -> None:
        while True:
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                return
            minutes = (deadline - time.monotonic()) / 60
            command = [sys.executable, "-m", "smollm2.train", name, "--device", device, *arguments]
            command += [f"--minutes={minutes:.3f}"] * (minutes < float("inf"))
            if (
                minutes <= 0
                or subprocess.run(command, cwd=Path(__file__).parents[1], env=_environment()).returncode
            ):
                failed.append(name)

    threads = [threading.Thread(target=work, args=(device,)) for device in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise SystemExit(f"Error: not trained: {', '.join(failed)}. Run the same command again to go on.")


def _environment() -> Mapping[str, str]:
    """Return the environment of a training process, which runs in another folder: with absolute paths."""
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def main(argv: Sequence[str] | None = None) -> None:
    """Train one expert, or all."""
    plans = expert_plans()
    parser = argparse.ArgumentParser(prog="python -m smollm2.train", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(plans), help="the expert")
    parser.add_argument("--all", action="store_true", help="train all experts, on all GPUs")
    parser.add_argument(
        "--per-gpu", type=int, default=1, help="with --all: experts that share a GPU (default: %(default)s)"
    )
    for name in ("base", "tokens", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes, with a checkpoint")
    parser.add_argument("--budget", type=int, help="tokens of an expert (default: 25 million)")
    parser.add_argument("--compile", action="store_true", help="compile the layers of the model and the loss")
    options = parser.parse_args(argv)
    started = time.monotonic()
    limit = 60 * options.minutes if options.minutes else float("inf")
    if options.all:
        arguments = [f"--{name}={getattr(options, name).absolute()}" for name in ("base", "tokens", "out")]
        arguments += ["--compile"] * options.compile
        arguments += [f"--budget={options.budget}"] * bool(options.budget)
        count = torch.cuda.device_count()
        names = [name for name in plans if not is_finished(options.out, name)]
        devices = [f"cuda:{k}" for k in range(count)] * options.per_gpu or ["cpu"]
        train_all(names, arguments, devices, started + limit)
        return
    if not options.name:
        parser.error("name an expert, or use --all")
    plan = plans[options.name]
    if options.budget:
        plan = Plan(plan.domain, plan.seed, plan.rate, tokens=options.budget)
    finished = train(
        options.name, plan, options.base, options.tokens, options.out, options.device, started + limit,
        options.compile,
    )  # fmt: skip
    if not finished:
        sys.exit(f"{options.name}: stopped for time; run the same command again to go on")


if __name__ == "__main__":
    main()
