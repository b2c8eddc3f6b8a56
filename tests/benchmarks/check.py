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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from helpers.sparse_models import tokenizer_json, write_llama_8b

REPEATS = 3


def main() -> None:
    """Print wall and CPU seconds, bytes of weight files that were read, errors, and the machine's load."""
    command = str(Path(sys.executable).with_name("mergekit-finance"))
    with tempfile.TemporaryDirectory() as folder:
        text = tokenizer_json()
        names = ("base", "finance", "math")
        models = [str(write_llama_8b(Path(folder, name), i, tokenizer=text)) for i, name in enumerate(names)]
        for _ in range(REPEATS):
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            done = subprocess.run([command, "check", *models, "--json"], capture_output=True, text=True)
            wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            report = json.loads(done.stdout)
            print(
                f"wall {wall:.2f} s, CPU {cpu:.2f} s, {report['bytes_read'] / 1e6:.1f} MB, "
                f"{report['errors']} errors, load {os.getloadavg()[0]:.1f}"
            )


if __name__ == "__main__":
    main()
