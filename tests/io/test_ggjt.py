"""ggjt files, built by hand from the format's description, become GGUF."""

import struct

import gguf
import numpy as np
import pytest

import numbatorch as nt
from numbatorch.cli.main import main
from numbatorch.errors import FormatError
from numbatorch.io.ggjt import GGJTFile

KIND = gguf.GGMLQuantizationType
HIDDEN, WIDE, TOKENS, LAYERS = 32, 64, 300, 2


def shapes():
    found = {"tok_embeddings": (TOKENS, HIDDEN), "norm": (HIDDEN,), "output": (TOKENS, HIDDEN)}
    for layer in range(LAYERS):
        inner = {f"attention.w{x}": (HIDDEN, HIDDEN) for x in "qkvo"}
        inner |= {"feed_forward.w1": (WIDE, HIDDEN), "feed_forward.w2": (HIDDEN, WIDE)}
        inner |= {"feed_forward.w3": (WIDE, HIDDEN)}
        inner |= {"attention_norm": (HIDDEN,), "ffn_norm": (HIDDEN,)}
        found |= {f"layers.{layer}.{name}": shape for name, shape in inner.items()}
    return found


def built(version, encode=None, number=0):
    """A file, and the values of its tensors."""
    random = np.random.default_rng(0)
    raw = b"tjgg" + struct.pack("<I", version)
    raw += struct.pack("<7I", TOKENS, HIDDEN, 32, 4, LAYERS, 8, 0)
    for id in range(TOKENS):
        text = bytes([id - 3]) if 3 <= id <= 258 else b" w%d" % id if id > 2 else b""
        raw += struct.pack("<I", len(text)) + text + struct.pack("<f", 0.0 if id < 259 else -id)
    values = {}
    for name, shape in shapes().items():
        array = random.standard_normal(shape).astype(np.float32)
        kind, data = 0, array.tobytes()
        if encode is not None and len(shape) == 2:
            kind = number
            data, array = encode(array)
        full = f"{name}.weight".encode()
        raw += struct.pack("<3I", len(shape), len(full), kind)
        raw += struct.pack(f"<{len(shape)}I", *shape[::-1]) + full
        raw += bytes(-len(raw) % 32) + data
        values[name] = array
    return raw, values


def old_q4_0(interleaved):
    """The layout before version 3, one number after another."""

    def encode(array):
        raw, numbers = b"", []
        for block in array.reshape(-1, 32):
            scale = np.float32(np.abs(block).max() / 7)
            codes = np.clip(np.rint(block / scale) + 8, 0, 15).astype(np.uint8)
            pairs = codes.reshape(16, 2).T if interleaved else codes.reshape(2, 16)
            raw += struct.pack("<f", scale) + (pairs[0] | pairs[1] << 4).astype(np.uint8).tobytes()
            numbers.append((codes.astype(np.float32) - 8) * scale)
        return raw, np.array(numbers, np.float32).reshape(array.shape)

    return encode


def new_q8_0(array):
    packed = gguf.quantize(array, KIND.Q8_0)
    return packed.tobytes(), gguf.dequantize(packed, KIND.Q8_0)


CASES = {
    "floats of version 1": (1, None, 0),
    "Q4_0 of version 1": (1, old_q4_0(True), 2),
    "Q4_0 of version 2": (2, old_q4_0(False), 2),
    "Q8_0 of version 3": (3, new_q8_0, 8),
}


@pytest.mark.parametrize("case", CASES)
def test_file_of_every_version_becomes_gguf_with_its_values(case, tmp_path, capsys):
    raw, values = built(*CASES[case])
    (tmp_path / "old.bin").write_bytes(raw)
    assert (
        main(["convert", str(tmp_path / "old.bin"), str(tmp_path / "a.gguf"), "--type", "F32"]) == 0
    )
    reader = gguf.GGUFReader(tmp_path / "a.gguf")
    found = {tensor.name: tensor for tensor in reader.tensors}
    assert len(found) == len(values)
    for name, at in (
        ("tok_embeddings", "token_embd"),
        ("layers.1.feed_forward.w2", "blk.1.ffn_down"),
    ):
        np.testing.assert_array_equal(found[f"{at}.weight"].data, values[name])
    assert reader.fields["llama.feed_forward_length"].contents() == WIDE
    generator = nt.TextGenerator(tmp_path / "a.gguf")
    assert generator.model.config.num_key_value_heads == 4
    assert len(generator.generate([1, 270, 280], 3)) >= 0


def test_file_is_inspected_and_encoded_anew_where_that_is_asked_for(tmp_path, capsys):
    raw, values = built(2, old_q4_0(False), 2)
    path = tmp_path / "old.bin"
    path.write_bytes(raw)
    assert main(["inspect", str(path), "--stats"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{path}: ggjt version 2"
    row = next(line for line in lines if line.startswith("  blk.1.ffn_down.weight"))
    expected = values["layers.1.feed_forward.w2"]
    assert f"Q4_0          ({HIDDEN}, {WIDE})" in row
    assert f" {HIDDEN * WIDE // 32 * 20:,} bytes" in row
    assert f"{expected.min():.4g} to {expected.max():.4g}" in row
    target = str(tmp_path / "a.gguf")
    assert main(["quantize", str(path), target, "--type", "Q8_0"]) == 1
    assert "is Q4_0 already" in capsys.readouterr().err
    assert main(["quantize", str(path), target, "--type", "Q8_0", "--requantize"]) == 0
    assert main(["dequantize", str(path), target, "--type", "F32"]) == 0
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(target).tensors}
    np.testing.assert_array_equal(found["blk.1.ffn_down.weight"].data, expected)


def test_broken_files_are_refused(tmp_path, seed):
    raw, _ = built(3)
    path = tmp_path / "old.bin"
    empty = bytes(4) + struct.pack("<I", WIDE)
    for broken, problem in (
        (b"lmgg" + raw[4:], "no ggjt file"),
        (raw[:4] + struct.pack("<I", 4) + raw[8:], "version 4, where 1 to 3"),
        (raw[:8] + struct.pack("<I", 2**31) + raw[12:], "tokens in a file"),
        (raw[:-5], "goes beyond the end"),
        (raw.replace(struct.pack("<2I", HIDDEN, WIDE), empty), "of type"),
        (raw.replace(b"layers.1.attention.wq", b"layers.1.attention.wx"), "no place in a Llama"),
        (raw.replace(b"layers.1.attention.wq", b"layers.1.attention.wk"), "appears twice"),
    ):
        path.write_bytes(broken)
        with pytest.raises(FormatError, match=problem):
            GGJTFile(path)
    rng = np.random.default_rng(seed)
    head = raw.index(b"tok_embeddings") + 200
    for _ in range(300):
        changed = np.frombuffer(raw, np.uint8).copy()
        places = rng.integers(0, head, 4)
        changed[places] = rng.choice([0, 1, 127, 255], 4)
        path.write_bytes(changed.tobytes())
        try:
            GGJTFile(path)
        except FormatError:
            continue
    for length in range(0, len(raw) - 1, 997):
        path.write_bytes(raw[:length])
        with pytest.raises(FormatError):
            GGJTFile(path)
