"""`mergekit-finance demo`: the main job from checkpoints to a table, on any machine, offline."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mergekit_finance.data.loader import SAMPLE
from mergekit_finance.data.mirror import VARIABLE
from mergekit_finance.evaluation import Harness
from mergekit_finance.recipe import load
from mergekit_finance.run import DEFAULT_TASKS, Run

RECIPE = """\
# Stage 2 of the study on tiny local models: finance and math expert, merged by Task Arithmetic.
merge_method: cpt_task_arithmetic
base_model: {models}/base
models:
  - model: {models}/finance
  - model: {models}/math
parameters:
  lambda: 0.5
dtype: float32
out_dtype: bfloat16
finance:
  stage: 2
  constituents: [{models}/finance, {models}/math]
  citation: Ilharco et al., Editing Models with Task Arithmetic, arXiv 2212.04089
"""


def demo(out: Path, limit: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Make models where there are none, merge two, evaluate, and return gain.json's content."""
    from mergekit_finance.tiny import make_family

    folder = out / "tiny"
    if not (folder / "japanese" / "tokenizer.json").is_file():
        say(f"make four tiny Llamas with random weights in {folder}")
        make_family(folder, scale=0.03)  # far enough apart to answer differently
    recipe = out / "recipe.yml"
    recipe.write_text(RECIPE.format(models=_written(folder)), encoding="utf-8")
    mirror = os.environ.get(VARIABLE)
    metadata = {"tokenizer": str(folder / "base")} | ({} if mirror else {"source": SAMPLE})
    say(
        f"rows: {mirror or f'the handful that this project wrote (set {VARIABLE} to a mirror for real ones)'}"
    )
    return Run(load(recipe), Harness(DEFAULT_TASKS, limit=limit, metadata=metadata), out, say=say)()


def _written(folder: Path) -> str:
    """The path as a recipe must write it: relative ones begin with ./ or mergekit asks the Hub."""
    return str(folder) if folder.is_absolute() or str(folder).startswith(".") else f"./{folder}"
