"""Train the lab's models. In recipes/lab: `python -m training.train --role all --seed 0 --out DIR`.

The base is trained from random weights. Each expert is then trained from the base on its own domain, and on a
small share of rows from the base's corpus. An interrupted run resumes from its last checkpoint. A finished
role is not trained again. The corpora are the same for every seed; the seed determines the first weights and
the order of the batches.
"""

import argparse
import json
import os
import platform
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from mergekit_finance.files import atomic_path
from mergekit_finance.lab import ROLES

from . import card, model, packing, probe, tokenizer
from .plans import BASE, EXPERTS, Plan, plan_for


class Trainer:
    """Trains the model of one role.

    Attributes:
        plan: The training settings.
        out: The folder of all models; checkpoints are in out/checkpoints.
        corpus: The packed training documents.
        name: The model's folder in `out`.
        held_out: Documents that are not trained on; their loss is logged at every checkpoint.
        model, optimizer: In training.
        step: Number of finished steps.
        seconds: Training time so far, including that before a checkpoint.
        losses, held_out_losses: (step, loss), as logged.
    """

    def __init__(
        self,
        plan: Plan,
        out: Path,
        corpus: packing.Packed,
        name: str | None = None,
        held_out: packing.Packed | None = None,
    ) -> None:
        self.plan, self.out, self.corpus = plan, out, corpus
        self.name, self.held_out = name or plan.role, held_out
        self.model = first_weights(plan, out).to(plan.device).train()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=plan.rate,
            betas=(0.9, 0.98),
            weight_decay=0.01,
            fused=plan.device == "cuda",
        )
        self.step, self.seconds = 0, 0.0
        self.losses: list[tuple[int, float]] = []  # (step, loss)
        self.held_out_losses: list[tuple[int, float]] = []
        self._data = _tensors(corpus, plan.device)
        self._order = batches(plan, len(corpus))

    @property
    def checkpoint(self) -> Path:
        """Path of the checkpoint file."""
        return self.out / "checkpoints" / f"{self.name}.pt"

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one. Exit if it was written under another plan."""
        if not self.checkpoint.is_file():
            return
        stored = torch.load(self.checkpoint, map_location=self.plan.device, weights_only=True)
        if stored["plan"] != asdict(self.plan):
            raise SystemExit(
                f"Error: {self.checkpoint} was written under another plan. Delete it or choose another --out."
            )
        self.model.load_state_dict(stored["model"])
        self.optimizer.load_state_dict(stored["optimizer"])
        self.seconds = stored["seconds"]
        self.losses = [(step, loss) for step, loss in stored["losses"]]
        self.held_out_losses = [(step, loss) for step, loss in stored["held_out_losses"]]
        while self.step < stored["step"]:
            next(self._order)
            self.step += 1

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state = {
            "plan": asdict(self.plan),
            "step": self.step,
            "seconds": self.seconds,
            "losses": self.losses,
            "held_out_losses": self.held_out_losses,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with atomic_path(self.checkpoint) as temporary:
            torch.save(state, temporary)

    def advance(self) -> torch.Tensor:
        """Train one step and return its loss, a scalar tensor."""
        rows = torch.from_numpy(next(self._order)).to(self.plan.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate_at(self.step)
        loss = self._loss([array[rows] for array in self._data])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return loss.detach()

    def _loss(self, arrays: Sequence[torch.Tensor]) -> torch.Tensor:
        ids, segment, weight = arrays
        with torch.autocast(self.plan.device, torch.bfloat16, enabled=self.plan.device == "cuda"):
            return model.loss_of(self.model, ids.long(), segment, weight)

    def compile(self) -> None:
        """Compile the layers of the model, which share their code; where that fails, go on without."""
        for layer in self.model.model.layers:
            layer.compile()
        try:
            self._loss([array[: self.plan.batch] for array in self._data]).backward()
        except Exception as error:  # whatever the compiler raises: training works without it
            print(f"{self.name}: not compiled ({str(error).splitlines()[:1]})", file=sys.stderr, flush=True)
            for layer in self.model.model.layers:
                layer._compiled_call_impl = None
        self.optimizer.zero_grad(set_to_none=True)

    def _log_held_out(self) -> None:
        """Add the loss of the held-out documents to their log."""
        if self.held_out is not None:
            with torch.no_grad():
                loss = self._loss(_tensors(self.held_out.rows(self.plan.batch), self.plan.device)).item()
            self.held_out_losses.append((self.step, round(loss, 5)))

    def run(self, stop_at: int | None = None, log_every: int = 20, deadline: float = float("inf")) -> bool:
        """Train to the last step, or to step `stop_at`, with a progress bar, a loss log and checkpoints.

        Args:
            stop_at: The step to stop at.
            log_every: Steps between two logged losses.
            deadline: The time of `time.monotonic` at which to write a checkpoint and stop.

        Returns:
            Whether the last step is done.
        """
        started, seconds_before = time.monotonic(), self.seconds
        last = min(stop_at or self.plan.steps, self.plan.steps)
        bar = tqdm(total=self.plan.steps, initial=self.step, desc=self.plan.role, mininterval=2)
        while self.step < last:
            loss = self.advance()
            bar.update()
            if self.step % log_every == 0 or self.step == last:
                self.seconds = seconds_before + time.monotonic() - started
                self.losses.append((self.step, round(loss.item(), 5)))
                bar.set_postfix(loss=f"{self.losses[-1][1]:.3f}")
            if self.step % self.plan.save_every == 0 or self.step == self.plan.steps:
                self._log_held_out()
            if self.step < self.plan.steps and time.monotonic() > deadline:
                self.seconds = seconds_before + time.monotonic() - started
                self.save()
                break
            if self.step % self.plan.save_every == 0 and self.step < self.plan.steps:
                self.save()
        bar.close()
        return self.step == self.plan.steps


def _tensors(rows: packing.Packed, device: str) -> list[torch.Tensor]:
    return [torch.from_numpy(array).to(device) for array in (rows.ids, rows.segment, rows.weight)]


def first_weights(plan: Plan, out: Path) -> LlamaForCausalLM:
    """Return the initial model in float32: random weights for the base, for an expert the base in `out`."""
    if plan.role == "base":
        return model.make(plan.seed)
    if not is_finished(out, "base"):
        raise SystemExit(f"Error: {out / 'base'} is missing. Train the base first (--role base).")
    return AutoModelForCausalLM.from_pretrained(out / "base").to(torch.float32)


def batches(plan: Plan, rows: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the row numbers of each step's batch, endlessly. Each epoch is shuffled differently."""
    epoch, size = 0, min(plan.batch, rows)
    while True:
        order = np.random.default_rng([plan.seed, ROLES.index(plan.role), epoch]).permutation(rows)
        yield from (order[at : at + size] for at in range(0, rows - size + 1, size))
        epoch += 1


def is_finished(out: Path, name: str) -> bool:
    """Return whether a model has been trained. Its card is the file that is written last."""
    return (out / name / "README.md").is_file()


def train(plan: Plan, out: Path, processes: int = 1) -> None:
    """Train one role and write its model, loss log and card."""
    print(f"{plan.role}: generating {plan.documents} documents", file=sys.stderr, flush=True)
    rows = packing.corpus(plan.role, plan.documents, processes)
    if plan.general:
        count = round(len(rows) * plan.general / (1 - plan.general))
        rows = packing.mixed(rows, packing.first_rows("base", count), plan.general)
    trainer = Trainer(plan, out, rows)
    trainer.resume()
    trainer.run()
    write(trainer)


def write(trainer: Trainer, command: str | None = None) -> None:
    """Write the model in bfloat16, its tokenizer, the loss logs and the card. Delete the checkpoint.

    Args:
        trainer: After its last step.
        command: That trained the model, for its card; None: that of this module.
    """
    plan, folder = trainer.plan, trainer.out / trainer.name
    trainer.model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.load().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes it readable by the owner only
    _write_losses(folder / "loss.jsonl", trainer.losses)
    if trainer.held_out_losses:
        _write_losses(folder / "held_out_loss.jsonl", trainer.held_out_losses)
    markdown = card.text(
        plan,
        hardware=torch.cuda.get_device_name() if plan.device == "cuda" else f"CPU, {platform.machine()}",
        seconds=round(trainer.seconds),
        rows=len(trainer.corpus),
        parameters=sum(p.numel() for p in trainer.model.parameters()),
        losses=trainer.losses,
        command=command or f"python -m training.train --role {plan.role} --seed {plan.seed} --out DIR",
    )
    (folder / "README.md").write_text(markdown, encoding="utf-8")
    trainer.checkpoint.unlink(missing_ok=True)


def _write_losses(file: Path, losses: Sequence[tuple[int, float]]) -> None:
    lines = [json.dumps({"step": step, "loss": loss}) for step, loss in losses]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def pack(out: Path, roles: Sequence[str], file: Path) -> None:
    """Write the finished models and their scores to one .tar.gz file, without checkpoints."""
    with tarfile.open(file, "w:gz") as archive:
        for name in (*roles, "probe.json", "profile.json", "profile.md", "criteria.json"):
            if (out / name).exists():
                archive.add(out / name, arcname=name)


DEFAULT = " (default: %(default)s)"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    def both(text: str, field: str) -> str:
        """Return the help of an option whose default differs between the roles."""
        of_experts = sorted({getattr(plan, field) for plan in EXPERTS.values()})
        return f"{text} (default: {getattr(BASE, field)} base, {' or '.join(map(str, of_experts))} an expert)"

    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("--role", choices=["all", *ROLES], default="all", help=f"role to train{DEFAULT}")
    parser.add_argument("--seed", type=int, default=0, help=f"seed of first weights and batches{DEFAULT}")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the models to")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help=f"device{DEFAULT}")
    parser.add_argument("--steps", type=int, help=both("training steps of every role", "steps"))
    parser.add_argument("--documents", type=int, help=both("documents in every corpus", "documents"))
    parser.add_argument("--batch", type=int, help=both("rows per step", "batch"))
    parser.add_argument("--rate", type=float, help=both("highest learning rate of every role", "rate"))
    parser.add_argument("--expert-steps", type=int, help="steps of an expert; overrides --steps")
    parser.add_argument("--expert-rate", type=float, help="learning rate of an expert; overrides --rate")
    cores = min(8, os.cpu_count() or 1)
    parser.add_argument("--processes", type=int, default=cores, help=f"for generating documents{DEFAULT}")
    probe_help = f"items per task to test after training, results in OUT/probe.json; 0: none{DEFAULT}"
    parser.add_argument("--probe", type=int, default=96, metavar="N", help=probe_help)
    parser.add_argument("--pack", type=Path, metavar="FILE", help="also write the models as one .tar.gz")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train the roles, test them on a few items, and pack them, as the options say."""
    options = _parse(argv)
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    roles = ROLES if options.role == "all" else (options.role,)
    options.out.mkdir(parents=True, exist_ok=True)
    for role in roles:
        if is_finished(options.out, role):
            continue
        is_expert = role != "base"
        role_plan = plan_for(
            role,
            seed=options.seed,
            device=device,
            steps=options.expert_steps if is_expert and options.expert_steps is not None else options.steps,
            documents=options.documents,
            batch=options.batch,
            rate=options.expert_rate if is_expert and options.expert_rate is not None else options.rate,
        )
        train(role_plan, options.out, options.processes)
    if options.probe:
        probe.report(options.out, roles, options.probe, device)
    if options.pack:
        pack(options.out, roles, options.pack)


if __name__ == "__main__":
    main()
