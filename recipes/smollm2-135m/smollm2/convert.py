"""Convert a GGUF file of a Llama into a Hugging Face folder.

In recipes/smollm2-135m: `python -m smollm2.convert MODEL.gguf OUT`.

The weights of the file are dequantized, so the result has the rounding of the file: the model of a 4-bit
file is not the model that the file was made from. `conversion.json` in OUT says so, with the sha256 of the
file. Needs the package `gguf`.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from mergekit_finance.files import atomic_path, sha256_file

RECORD = "conversion.json"
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
# Keys of the loaded configuration that describe the quantized file, or are set by the new model itself.
LEFT_OUT = (
    "quantization_config", "_name_or_path", "_model_name_or_path", "dtype", "architectures",
    "transformers_version", "model_type",
)  # fmt: skip


def convert(file: Path, out: Path, dtype: str = "bfloat16") -> None:
    """Write the model and the tokenizer of a GGUF file to a new folder. A finished folder is left as it is.

    Args:
        file: A GGUF file of a Llama with its tokenizer.
        out: The folder; it appears under its name when it is complete.
        dtype: The dtype of the stored weights, bfloat16 or float32.

    Raises:
        SystemExit: The file is missing, is not a GGUF file of a Llama, or `gguf` is not installed.
    """
    if (out / RECORD).is_file():
        return
    types = tensor_types(file)
    model, tokenizer = _load(file)
    with atomic_path(out) as folder:
        model.to(DTYPES[dtype]).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "model.safetensors").chmod(0o644)  # safetensors writes it readable by the owner only
        record = {
            "source": file.name,
            "sha256": sha256_file(file),
            "tensor_types": types,
            "dtype": dtype,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        }
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def tensor_types(file: Path) -> dict[str, int]:
    """Return how many tensors of a GGUF file have each type, such as {"F32": 61, "Q4_1": 210}."""
    try:
        from gguf import GGUFReader
    except ImportError:
        raise SystemExit("Error: the package gguf is missing. Install it: pip install gguf") from None
    if not file.is_file():
        raise SystemExit(f"Error: {file}: no such file. Name a .gguf file.")
    try:
        tensors = GGUFReader(str(file)).tensors
    except (ValueError, IndexError) as error:
        raise SystemExit(f"Error: {file}: not a GGUF file ({error}). Name a .gguf file.") from error
    return dict(sorted(Counter(tensor.tensor_type.name for tensor in tensors).items()))


def _load(file: Path) -> tuple[LlamaForCausalLM, "AutoTokenizer"]:
    """Return the dequantized model in float32 and its tokenizer.

    transformers refuses to save a model that it has read from a GGUF file, so the weights are copied into a
    new one.
    """
    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    read = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    if read.config.model_type != "llama":
        raise SystemExit(f"Error: {file}: a {read.config.model_type} model. Only Llama files are converted.")
    config = {key: value for key, value in read.config.to_dict().items() if key not in LEFT_OUT}
    model = LlamaForCausalLM(LlamaConfig(**config))
    model.load_state_dict(read.state_dict())
    model.tie_weights()
    return model, AutoTokenizer.from_pretrained(**place)


def main(argv: Sequence[str] | None = None) -> None:
    """Convert one file."""
    parser = argparse.ArgumentParser(prog="python -m smollm2.convert", description=__doc__)
    parser.add_argument("file", type=Path, help="a .gguf file of a Llama")
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="bfloat16", help="(default: %(default)s)")
    options = parser.parse_args(argv)
    convert(options.file, options.out, options.dtype)
    print(f"{options.out}: {(options.out / RECORD).read_text(encoding='utf-8')}", file=sys.stderr)


if __name__ == "__main__":
    main()
