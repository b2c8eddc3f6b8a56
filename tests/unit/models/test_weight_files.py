"""Headers and sampled values of safetensors files, against the safetensors library; hostile headers."""

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from mergekit_finance.errors import ModelError
from mergekit_finance.models.weight_files import (
    ByteReader,
    BytesSpent,
    read_header,
    read_samples,
    sample_ranges,
)

DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int8, torch.int64, torch.bool]
ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def write(path: Path, header: object, data: bytes = bytes(8), length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def test_names_shapes_and_dtypes_are_those_of_the_library(tmp_path):
    stored = {f"t{i}": torch.ones(i + 1, 3).to(dtype) for i, dtype in enumerate(DTYPES)}
    stored |= {"scalar": torch.tensor(1.5), "empty": torch.ones(0, 4)}
    save_file(stored, tmp_path / "m.safetensors", {"format": "pt"})
    with safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        expected = {
            name: (tuple(file.get_slice(name).get_shape()), file.get_slice(name).get_dtype())
            for name in file.keys()
        }
    header = read_header(tmp_path / "m.safetensors", ByteReader())
    assert {tensor.name: (tensor.shape, tensor.dtype) for tensor in header} == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3,), (40, 50), (1024,), (1025,), ()])
def test_sampled_values_are_those_of_the_library(tmp_path, dtype, shape):
    torch.manual_seed(0)
    tensors = {"a": torch.randn(7).to(dtype), "b": torch.randn(shape).to(dtype)}
    save_file(tensors, tmp_path / "m.safetensors")
    reader = ByteReader()
    samples = read_samples(tmp_path, read_header(tmp_path / "m.safetensors", reader), reader)
    flat = tensors["b"].flatten().float().numpy()
    expected = np.concatenate([flat[first : first + number] for first, number in sample_ranges(flat.size)])
    assert samples["b"].dtype == np.float32
    np.testing.assert_array_equal(samples["b"], expected)


def test_nan_and_infinity_are_read_as_they_are(tmp_path):
    values = torch.tensor([float("nan"), float("inf"), float("-inf"), -0.0])
    save_file({"a": values.to(torch.bfloat16)}, tmp_path / "m.safetensors")
    reader = ByteReader()
    samples = read_samples(tmp_path, read_header(tmp_path / "m.safetensors", reader), reader)
    np.testing.assert_array_equal(samples["a"], values.numpy())


@pytest.mark.parametrize("count", [0, 1, 1023, 1024, 1025, 10**9])
def test_samples_lie_in_the_tensor_from_its_first_to_its_last_element(count):
    ranges = sample_ranges(count)
    assert sum(number for _, number in ranges) == min(count, 1024)
    assert all(first >= 0 and first + number <= count for first, number in ranges)
    if count:
        assert ranges[0][0] == 0 and sum(ranges[-1]) == count


def test_integers_are_not_sampled(tmp_path):
    save_file({"a": torch.ones(4, dtype=torch.int8)}, tmp_path / "m.safetensors")
    reader = ByteReader()
    assert read_samples(tmp_path, read_header(tmp_path / "m.safetensors", reader), reader) == {}


# ---- bytes


def test_every_byte_that_is_read_is_counted(tmp_path):
    (tmp_path / "f").write_bytes(bytes(range(100)))
    reader = ByteReader()
    assert reader.read(tmp_path / "f", [(0, 3), (98, 5)]) == [b"\0\1\2", b"bc"]
    assert reader.bytes_read == 5


def test_a_reader_stops_before_its_limit(tmp_path):
    (tmp_path / "f").write_bytes(bytes(100))
    reader = ByteReader(max_bytes=10)
    reader.read(tmp_path / "f", [(0, 8)])
    with pytest.raises(BytesSpent):
        reader.read(tmp_path / "f", [(0, 2), (2, 1)])
    assert reader.bytes_read == 8


# ---- hostile files


BROKEN = {
    "nothing": (b"", b"", None),
    "not JSON": (b"{", b"", None),
    "a list": ([], b"", None),
    "a header beyond the file": ({}, b"", 1000),
    "a header of exabytes": ({}, b"", 2**63),
    "an entry that is a number": ({"a": 1}, bytes(8), None),
    "a shape that is text": ({"a": ENTRY | {"shape": "2"}}, bytes(8), None),
    "a negative size": ({"a": ENTRY | {"shape": [-2]}}, bytes(8), None),
    "a size that is true": ({"a": ENTRY | {"shape": [True]}}, bytes(8), None),
    "a huge size": ({"a": ENTRY | {"shape": [10**30]}}, bytes(8), None),
    "an unknown dtype": ({"a": ENTRY | {"dtype": "F33"}}, bytes(8), None),
    "offsets that do not fit the shape": ({"a": ENTRY | {"data_offsets": [0, 4]}}, bytes(8), None),
    "three offsets": ({"a": ENTRY | {"data_offsets": [0, 4, 8]}}, bytes(8), None),
    "a gap": ({"a": ENTRY | {"data_offsets": [4, 12]}}, bytes(12), None),
    "an overlap": ({"a": ENTRY, "b": ENTRY}, bytes(8), None),
    "too few bytes": ({"a": ENTRY}, bytes(7), None),
    "too many bytes": ({"a": ENTRY}, bytes(9), None),
    "100,000 levels": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b"", None),
    "metadata that is a text": ({"__metadata__": "x", "a": ENTRY}, bytes(8), None),
    "metadata with a number": ({"__metadata__": {"x": 5}, "a": ENTRY}, bytes(8), None),
    "not UTF-8": (b'{"\xff": 1}', b"", None),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_reported_in_one_line_where_the_library_refuses_it(tmp_path, name):
    path = write(tmp_path / "m.safetensors", *BROKEN[name])
    with pytest.raises(ModelError, match="truncated or broken") as caught:
        read_header(path, ByteReader())
    assert str(caught.value).startswith(f"{path}: ") and len(str(caught.value)) < 400
    with pytest.raises(SafetensorError):
        load_file(path)


def test_a_missing_file_and_a_pipe_are_reported_in_one_line(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        read_header(tmp_path / "m.safetensors", ByteReader())
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(ModelError, match="truncated or broken .not a regular file"):
        read_header(tmp_path / "pipe.safetensors", ByteReader())


def test_a_header_longer_than_what_may_be_read_is_not_read(tmp_path):
    path = write(tmp_path / "m.safetensors", {"a": ENTRY})
    with pytest.raises(BytesSpent):
        read_header(path, ByteReader(max_bytes=20))


def test_a_tensor_that_a_header_has_twice_is_reported(tmp_path):
    entry = '"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'
    other = '"a": {"dtype": "I32", "shape": [2], "data_offsets": [0, 8]}'
    lines = []
    (tensor,) = read_header(_of_text(tmp_path / "x", f"{{{entry}, {entry}}}"), ByteReader(), lines.append)
    assert tensor.name == "a"
    assert lines == [f"{tmp_path / 'x'}: the header has 'a' twice"]
    with pytest.raises(ModelError, match="'a' twice, with different values"):
        read_header(_of_text(tmp_path / "x", f"{{{other}, {entry}}}"), ByteReader())


def _of_text(path, header):
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(8))
    return path


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(ModelError, match="`git lfs pull` fetches the file"):
        read_header(path, ByteReader())
