"""Models of the shape of Llama-3-8B that take a few MB of disk: real headers, values only where checks look."""

import json
import struct
from pathlib import Path

import numpy as np

from mergekit_finance.models.weight_files import sample_ranges

LAYERS, HIDDEN, INTERMEDIATE, KEYS, VOCABULARY = 32, 4096, 14336, 1024, 128_256
SHARDS = 4
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": VOCABULARY,
    "rope_theta": 500000.0,
    "rope_scaling": None,
    "rms_norm_eps": 1e-05,
    "hidden_act": "silu",
    "max_position_embeddings": 8192,
    "attention_bias": False,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "bos_token_id": 128000,
    "eos_token_id": 128001,
}


def llama_8b_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of each of the 291 tensors of a Llama-3-8B."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for i in range(LAYERS):
        layer = {
            "input_layernorm": (HIDDEN,),
            "post_attention_layernorm": (HIDDEN,),
            "self_attn.q_proj": (HIDDEN, HIDDEN),
            "self_attn.k_proj": (KEYS, HIDDEN),
            "self_attn.v_proj": (KEYS, HIDDEN),
            "self_attn.o_proj": (HIDDEN, HIDDEN),
            "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
            "mlp.up_proj": (INTERMEDIATE, HIDDEN),
            "mlp.down_proj": (HIDDEN, INTERMEDIATE),
        }
        shapes |= {f"model.layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    return {**shapes, "model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCABULARY, HIDDEN)}


def write_llama_8b(folder: Path, seed: int, base_seed: int = 0, tokenizer: str | None = None) -> Path:
    """Write a model whose sampled values are those of `base_seed` plus a tenth of those of `seed`.

    Args:
        folder: created.
        seed: of the task vector; that of the base gives the base.
        base_seed: of the base.
        tokenizer: the content of tokenizer.json; without it, one of 128,256 tokens and 252,500 merges.
    """
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 128001}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 8192}))
    (folder / "tokenizer.json").write_text(tokenizer or tokenizer_json())
    shapes = list(llama_8b_shapes().items())
    size = -(-len(shapes) // SHARDS)
    weight_map = {}
    for shard in range(SHARDS):
        name = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        part = shapes[shard * size : (shard + 1) * size]
        weight_map |= dict.fromkeys(dict(part), name)
        _write_shard(folder / name, part, seed, base_seed)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def _write_shard(path: Path, tensors: list[tuple[str, tuple[int, ...]]], seed: int, base_seed: int) -> None:
    header, end = {}, 0
    for name, shape in tensors:
        length = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + length]}
        end += length
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
        for name, shape in tensors:
            start = 8 + len(text) + header[name]["data_offsets"][0]
            for first, number in sample_ranges(int(np.prod(shape))):
                file.seek(start + 2 * first)
                file.write(_values(name, first, number, seed, base_seed))


def _values(name: str, first: int, number: int, seed: int, base_seed: int) -> bytes:
    key = list(name.encode())
    base = np.random.default_rng([base_seed, first, *key]).normal(0, 0.02, number)
    vector = np.random.default_rng([seed, first, *key]).normal(0, 0.002, number) if seed != base_seed else 0
    bits = (base + vector).astype("<f4").view("<u4") >> 16
    return bits.astype("<u2").tobytes()


def tokenizer_json(first: int = 0) -> str:
    """Return a tokenizer.json of the size of Llama 3's: 128,000 tokens, 256 added ones, 252,500 merges."""
    letters = [chr(0x100 + i) for i in range(50)]
    pairs = [a + b for a in letters for b in letters]
    triples = [pair + c for pair in pairs for c in letters]
    tokens = [*letters, *pairs, *triples]
    tokens += [chr(0x200 + i) for i in range(128_000 - len(tokens))]
    merges = [[pair[0], pair[1]] for pair in pairs]
    merges += [parts for t in triples for parts in ([t[:2], t[2]], [t[0], t[1:]])]
    settings = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [
        {"id": 128_000 + i, "content": f"<|special_{i}|>", "special": True, **settings} for i in range(256)
    ]
    vocabulary = {token: (i + first) % 128_000 for i, token in enumerate(tokens)}
    return json.dumps(
        {"added_tokens": added, "model": {"type": "BPE", "vocab": vocabulary, "merges": merges}}
    )
