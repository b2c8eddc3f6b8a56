"""The converter: a small GGUF file, written here with the package `gguf`, becomes a folder with the same weights."""

import json

import numpy as np
import pytest
import torch
from helpers.smollm2_study import convert
from transformers import AutoTokenizer, LlamaForCausalLM

LAYERS, HIDDEN, HEADS, KV_HEADS, INNER = 2, 64, 4, 2, 96
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "a", "b", "c", "ab", "abc"]
SHAPES = {
    "attn_q": (HIDDEN, HIDDEN), "attn_k": (HIDDEN // 2, HIDDEN), "attn_v": (HIDDEN // 2, HIDDEN),
    "attn_output": (HIDDEN, HIDDEN), "ffn_gate": (INNER, HIDDEN), "ffn_up": (INNER, HIDDEN), "ffn_down": (HIDDEN, INNER),
}  # fmt: skip


@pytest.fixture(scope="module")
def gguf():
    return pytest.importorskip("gguf")


def write(gguf, path, architecture="llama"):
    """Write a random Llama as GGUF: linear layers in 4 bits where their rows allow it. Return its dequantized tensors."""
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3, 1, 1, 1, 1, 1])
    writer.add_token_merges(["a b", "ab c"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    tensors = {}
    rng = np.random.default_rng(0)

    def add(name, shape, kind):
        values = rng.normal(size=shape).astype(np.float32) * 0.1
        raw = values if kind == "F32" else gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
        writer.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType[kind])
        tensors[name] = (
            values if kind == "F32" else gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[kind])
        )

    add("token_embd.weight", (len(TOKENS), HIDDEN), "Q8_0")
    add("output_norm.weight", (HIDDEN,), "F32")
    for layer in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            add(f"blk.{layer}.{norm}.weight", (HIDDEN,), "F32")
        for name, shape in SHAPES.items():
            add(f"blk.{layer}.{name}.weight", shape, "Q4_1")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def test_the_folder_has_the_dequantized_weights_and_the_tokenizer(gguf, tmp_path):
    tensors = write(gguf, tmp_path / "tiny.gguf")
    out = tmp_path / "model"
    convert.main([str(tmp_path / "tiny.gguf"), str(out), "--dtype", "float32"])
    model = LlamaForCausalLM.from_pretrained(out)
    state = model.state_dict()
    assert model.config.tie_word_embeddings and model.dtype == torch.float32
    assert not hasattr(model.config, "quantization_config")
    pairs = {
        "token_embd.weight": "model.embed_tokens.weight",
        "blk.1.ffn_down.weight": "model.layers.1.mlp.down_proj.weight",
        "blk.0.attn_v.weight": "model.layers.0.self_attn.v_proj.weight",
        "blk.0.ffn_norm.weight": "model.layers.0.post_attention_layernorm.weight",
    }
    for theirs, ours in pairs.items():
        np.testing.assert_array_equal(tensors[theirs], state[ours].numpy())
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer("abcab")["input_ids"] == [7, 6]
    record = json.loads((out / "conversion.json").read_text())
    assert record["tensor_types"] == {"F32": 1 + 2 * LAYERS, "Q4_1": len(SHAPES) * LAYERS, "Q8_0": 1}
    assert record["source"] == "tiny.gguf" and len(record["sha256"]) == 64


def test_a_finished_folder_is_left_as_it_is(gguf, tmp_path):
    write(gguf, tmp_path / "tiny.gguf")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "conversion.json").write_text("{}")
    convert.convert(tmp_path / "tiny.gguf", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["conversion.json"]


@pytest.mark.parametrize("content", [None, b"no gguf file at all"])
def test_a_file_that_cannot_be_read_is_one_line(gguf, tmp_path, content):
    path = tmp_path / "x.gguf"
    if content:
        path.write_bytes(content)
    with pytest.raises(SystemExit, match=r"^Error: .*x.gguf: .*Name a .gguf file\.$"):
        convert.convert(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
