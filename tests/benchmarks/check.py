"""Time `mergekit-finance check` on three models of the shape of Llama-3-8B, with a warm cache.

python tests/benchmarks/check.py
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from helpers.sparse_models import tokenizer_json, write_llama_8b

REPEATS = 3
# Compiled files are kept, as pip does when it installs the package: else each run compiles it anew.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
COMMAND = str(Path(sys.executable).with_name("mergekit-finance"))


def main() -> None:
    """Print wall and CPU seconds, bytes of weight files that were read, errors, and the machine's load."""
    with tempfile.TemporaryDirectory() as folder:
        text = tokenizer_json()
        names = ("base", "finance", "math")
        models = [str(write_llama_8b(Path(folder, name), i, tokenizer=text)) for i, name in enumerate(names)]
        base, *experts = models
        study = {
            "base": base,
            "experts": dict(zip(names[1:], experts, strict=True)),
            "operators": {"ties": {"density": [0.2, 0.5]}},
            "stages": [1, 2],
        }
        recipe = {
            "merge_method": "cpt_ties",
            "base_model": base,
            "models": [{"model": expert, "parameters": {"density": 0.5}} for expert in experts],
            "dtype": "float32",
            "out_dtype": "bfloat16",
        }
        Path(folder, "study.yml").write_text(yaml.safe_dump(study))
        Path(folder, "recipe.yml").write_text(yaml.safe_dump(recipe))
        inputs = {"models": models, "study": [f"{folder}/study.yml"], "recipe": [f"{folder}/recipe.yml"]}
        for paths in inputs.values():  # fills the cache
            timed([COMMAND, "check", *paths, "--json"])
        for name, paths in inputs.items():
            for _ in range(REPEATS):
                seconds, output = timed([COMMAND, "check", *paths, "--json"])
                report = json.loads(output)
                print(f"{name}: {seconds}, {report['bytes_read'] / 1e6:.1f} MB, {report['errors']} errors")
        for _ in range(REPEATS):
            print(f"import mergekit.config: {timed([sys.executable, '-c', 'import mergekit.config'])[0]}")


def timed(command: Sequence[str]) -> tuple[str, str]:
    """Run a command; return its times with the machine's load, and what it printed."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"wall {wall:.2f} s, CPU {cpu:.2f} s (load {os.getloadavg()[0]:.1f})", done.stdout


if __name__ == "__main__":
    main()
