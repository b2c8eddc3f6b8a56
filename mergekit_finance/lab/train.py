"""Training of the lab's models: `python -m mergekit_finance.lab.train --role all --seed 0 --out DIR`.

The base from random weights, then each expert from the base on its own domain: plain continual pre-training,
with no replay of what came before. A run that was cut off goes on from its last checkpoint; a role that is
finished is not trained again. World and corpora are the same for every seed: a seed is the first weights and
the order of batches.
"""

import argparse
import json
import os
import platform
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mergekit_finance.lab import ROLES, card, model, packing, tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM


@dataclass(frozen=True)
class Plan:
    """How one role is trained."""

    role: str
    seed: int = 0
    steps: int = 3000
    rate: float = 2e-3
    documents: int = 480_000
    batch: int = 256
    warmup: int = 100
    save_every: int = 500
    device: str = "cpu"

    def rate_at(self, step: int) -> float:
        """Linear up, then linear down to zero at the last step."""
        up = (step + 1) / max(1, min(self.warmup, self.steps // 10))
        return self.rate * min(1.0, up, (self.steps - step) / max(1, 0.9 * self.steps))


EXPERT = {"steps": 1200, "rate": 1e-3, "documents": 240_000, "warmup": 50}


def plan(role: str, **changes: Any) -> Plan:
    """The default plan of a role, changed where a change is not None."""
    first = Plan(role) if role == "base" else replace(Plan(role), **EXPERT)
    return replace(first, **{name: value for name, value in changes.items() if value is not None})


class Trainer:
    """One role's model on its way: weights, optimizer, step."""

    def __init__(self, plan: Plan, out: Path, corpus: packing.Packed) -> None:
        import torch

        self.plan, self.out, self.corpus = plan, out, corpus
        self.model = start(plan, out).to(plan.device).train()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=plan.rate,
            betas=(0.9, 0.98),
            weight_decay=0.01,
            fused=plan.device == "cuda",
        )
        self.step, self.seconds, self.losses = 0, 0.0, []
        self._data = [
            torch.from_numpy(a).to(plan.device) for a in (corpus.ids, corpus.segment, corpus.weight)
        ]
        self._order = batches(plan, len(corpus))

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoints" / f"{self.plan.role}.pt"

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one and it is of this plan."""
        import torch

        if not self.checkpoint.is_file():
            return
        stored = torch.load(self.checkpoint, map_location=self.plan.device, weights_only=True)
        if stored["plan"] != asdict(self.plan):
            raise SystemExit(f"Error: {self.checkpoint} is of another plan; remove it or use another --out")
        self.model.load_state_dict(stored["model"])
        self.optimizer.load_state_dict(stored["optimizer"])
        self.seconds, self.losses = stored["seconds"], stored["losses"]
        while self.step < stored["step"]:
            next(self._order)
            self.step += 1

    def save(self) -> None:
        """Write the checkpoint under another name, then rename: it is whole or not there."""
        import torch

        state = {"plan": asdict(self.plan), "step": self.step, "seconds": self.seconds, "losses": self.losses}
        state |= {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.checkpoint.with_suffix(f".{os.getpid()}")
        torch.save(state, temporary)
        temporary.replace(self.checkpoint)

    def advance(self) -> "torch.Tensor":
        """One step; its loss."""
        import torch

        rows = torch.from_numpy(next(self._order)).to(self.plan.device)
        ids, segment, weight = (array[rows] for array in self._data)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate_at(self.step)
        with torch.autocast(self.plan.device, torch.bfloat16, enabled=self.plan.device == "cuda"):
            loss = model.loss_of(self.model, ids.long(), segment, weight)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return loss.detach()

    def run(self, stop_at: int | None = None, log_every: int = 20) -> None:
        """Train to the last step (or to `stop_at`), with a bar, a log and checkpoints."""
        from tqdm import tqdm

        started, before, last = (
            time.monotonic(),
            self.seconds,
            min(stop_at or self.plan.steps, self.plan.steps),
        )
        bar = tqdm(total=self.plan.steps, initial=self.step, desc=self.plan.role, mininterval=2)
        while self.step < last:
            loss = self.advance()
            bar.update()
            if self.step % log_every == 0 or self.step == last:
                self.seconds = before + time.monotonic() - started
                self.losses.append([self.step, round(loss.item(), 5)])
                bar.set_postfix(loss=f"{self.losses[-1][1]:.3f}")
            if self.step % self.plan.save_every == 0 and self.step < self.plan.steps:
                self.save()
        bar.close()


def start(plan: Plan, out: Path) -> "LlamaForCausalLM":
    """Where a role begins: random weights for the base, the trained base for an expert."""
    import torch
    from transformers import AutoModelForCausalLM

    if plan.role == "base":
        return model.make(plan.seed)
    if not finished(out, "base"):
        raise SystemExit(f"Error: {out / 'base'} is missing: train the base first (--role base)")
    return AutoModelForCausalLM.from_pretrained(out / "base").to(torch.float32)


def batches(plan: Plan, rows: int) -> Iterator[np.ndarray]:
    """Row numbers of each step's batch: every epoch in an order of its own."""
    epoch, size = 0, min(plan.batch, rows)
    while True:
        order = np.random.default_rng([plan.seed, ROLES.index(plan.role), epoch]).permutation(rows)
        yield from (order[at : at + size] for at in range(0, rows - size + 1, size))
        epoch += 1


def finished(out: Path, role: str) -> bool:
    return (out / role / "README.md").is_file()  # written last


def train(plan: Plan, out: Path, processes: int = 1) -> None:
    """Train one role and write its model, log and card."""
    print(f"{plan.role}: make {plan.documents} documents", file=sys.stderr, flush=True)
    trainer = Trainer(plan, out, packing.corpus(plan.role, plan.documents, processes))
    trainer.resume()
    trainer.run()
    write(trainer)


def write(trainer: Trainer) -> None:
    """The model in bfloat16, its tokenizer, the loss log, and last the card."""
    import torch

    folder = trainer.out / trainer.plan.role
    trainer.model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.load().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # safetensors makes it private
    lines = [json.dumps({"step": step, "loss": loss}) for step, loss in trainer.losses]
    (folder / "loss.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    facts = {
        "hardware": hardware(trainer.plan.device),
        "seconds": round(trainer.seconds),
        "rows": len(trainer.corpus),
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "losses": trainer.losses,
    }
    (folder / "README.md").write_text(card.text(asdict(trainer.plan), facts), encoding="utf-8")
    trainer.checkpoint.unlink(missing_ok=True)


def hardware(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {platform.machine()}"


def pack(out: Path, roles: Sequence[str], file: Path) -> None:
    """The finished roles as one .tar.gz, checkpoints left out."""
    with tarfile.open(file, "w:gz") as archive:
        for name in (*roles, "probe.json"):
            if (out / name).exists():
                archive.add(out / name, arcname=name)


SHOWN = " (default: %(default)s)"


def _both(text: str, name: str) -> str:
    """Help of an option whose default differs between the base and its experts."""
    return f"{text} (default: {getattr(plan(ROLES[0]), name)} base, {EXPERT[name]} an expert)"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mergekit_finance.lab.train", description=__doc__)
    parser.add_argument("--role", choices=["all", *ROLES], default="all", help=f"what to train{SHOWN}")
    parser.add_argument("--seed", type=int, default=0, help=f"of first weights and batches{SHOWN}")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the models")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help=f"where{SHOWN}")
    parser.add_argument("--steps", type=int, help=_both("steps of every role", "steps"))
    parser.add_argument("--documents", type=int, help=_both("size of every corpus", "documents"))
    parser.add_argument("--batch", type=int, help=f"rows a step (default: {Plan.batch})")
    parser.add_argument("--rate", type=float, help=_both("highest learning rate of every role", "rate"))
    parser.add_argument("--expert-steps", type=int, help="steps of an expert, before --steps")
    parser.add_argument("--expert-rate", type=float, help="highest learning rate of an expert, before --rate")
    cores = min(8, os.cpu_count() or 1)
    parser.add_argument("--processes", type=int, default=cores, help=f"that make documents{SHOWN}")
    probed = f"items a task to probe, written to OUT/probe.json; 0: none{SHOWN}"
    parser.add_argument("--probe", type=int, default=96, metavar="N", help=probed)
    parser.add_argument("--pack", type=Path, metavar="FILE", help="also write the models as one .tar.gz")
    return parser.parse_args(argv)


def _changes(asked: argparse.Namespace, role: str) -> dict[str, Any]:
    """What the command line changes in a role's plan."""
    changes = {name: getattr(asked, name) for name in ("seed", "steps", "documents", "batch", "rate")}
    own = {"steps": asked.expert_steps, "rate": asked.expert_rate} if role != "base" else {}
    return changes | {name: value for name, value in own.items() if value is not None}


def main(argv: Sequence[str] | None = None) -> None:
    """Train, probe, pack."""
    import torch

    from mergekit_finance.lab import probe

    asked = _arguments(argv)
    device = asked.device if asked.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    roles = ROLES if asked.role == "all" else (asked.role,)
    asked.out.mkdir(parents=True, exist_ok=True)
    for role in roles:
        if finished(asked.out, role):
            continue
        train(plan(role, device=device, **_changes(asked, role)), asked.out, asked.processes)
    if asked.probe:
        probe.report(asked.out, roles, asked.probe, device)
    if asked.pack:
        pack(asked.out, roles, asked.pack)


if __name__ == "__main__":
    main()
