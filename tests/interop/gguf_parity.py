"""Ingot beside `gguf`, the reference Python package: each reads what the other writes.

  1. gguf's reader opens what `ingot convert` writes for every TYPE; metadata and tensors are the same for both.
  2. gguf decodes every tensor of these files to the same floats, bit for bit.
  3. The F32 file holds the checkpoint's own weights (with the rotary rows in GGUF's order).
  4. `ingot quantize` from the F32 file writes the same bytes of tensors as `ingot convert` from the checkpoint.
  5. ingot reads a file by gguf's writer with every type of value, nested arrays and every type of tensor.
  6. Blocks of random bits, in every layout that ingot decodes, decode to the same floats.
"""
import argparse
import json
import math
import tempfile
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFValueType as ValueType

from checks import CHECKPOINT, TYPES, Checks, Ingot

# The names of value types in `ingot inspect --json`.
VALUE_TYPES = {ValueType.UINT8: "uint8", ValueType.INT8: "int8", ValueType.UINT16: "uint16",
               ValueType.INT16: "int16", ValueType.UINT32: "uint32", ValueType.INT32: "int32",
               ValueType.FLOAT32: "float32", ValueType.BOOL: "bool", ValueType.STRING: "string",
               ValueType.ARRAY: "array", ValueType.UINT64: "uint64", ValueType.INT64: "int64",
               ValueType.FLOAT64: "float64"}


def same_value(ours, theirs, value_type):
    """Ours comes from JSON, theirs from gguf. Floats must be the same number after rounding to the stored width."""
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(same_value(a, b, value_type) for a, b in zip(ours, theirs))
    if value_type == ValueType.FLOAT32:
        return np.float32(ours).tobytes() == np.float32(theirs).tobytes()
    return type(ours) is type(theirs) and ours == theirs


def metadata_differences(report, reader):
    theirs = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    if list(report["metadata"]) != list(theirs):
        return [f"keys: {list(report['metadata'])} and {list(theirs)}"]
    differences = []
    for key, field in theirs.items():
        ours = report["metadata"][key]
        types = [VALUE_TYPES[t] for t in field.types]
        if ours["type"] != types[0] or (types[0] == "array" and ours["element_type"] != types[1]):
            differences.append(f"{key}: {ours['type']} and {types}")
        elif not same_value(ours["value"], field.contents(), field.types[-1]):
            differences.append(f"{key}: {str(ours['value'])[:60]} and {str(field.contents())[:60]}")
    return differences


def tensor_differences(report, reader):
    ours = [(t["name"], t["type"], t["shape"], t["elements"], t["offset"], t["size_bytes"]) for t in report["tensors"]]
    theirs = [(t.name, t.tensor_type.name, [int(n) for n in t.shape], int(t.n_elements), int(t.data_offset),
               int(t.n_bytes)) for t in reader.tensors]
    if len(ours) != len(theirs):
        return [f"{len(ours)} tensors and {len(theirs)}"]
    return [f"{a} and {b}" for a, b in zip(ours, theirs) if a != b]


def decode(tensor):
    """gguf's own decoder; what its table lacks (F64 and the integers) numpy converts."""
    if tensor.tensor_type in gguf.quants._type_traits or tensor.tensor_type in (Type.F32, Type.F16):
        return gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(-1)
    return tensor.data.astype(np.float32).reshape(-1)


def decode_differences(file, ingot, folder):
    """Tensors of `file` that ingot and gguf do not decode to the same bits."""
    decoded_file = folder / "decoded.gguf"
    ingot.run("quantize", file, "-t", "F32", "-o", decoded_file, "--allow-requantize", "--force")
    ours = {t.name: t for t in gguf.GGUFReader(decoded_file).tensors}
    differences = []
    for tensor in gguf.GGUFReader(file).tensors:
        if ours[tensor.name].tensor_type != Type.F32:
            differences.append(f"{tensor.name}: {ours[tensor.name].tensor_type.name} instead of F32")
            continue
        a = ours[tensor.name].data.reshape(-1).view(np.uint32)
        b = decode(tensor).view(np.uint32)
        n = int(np.count_nonzero(a != b)) if a.size == b.size else max(a.size, b.size)
        if n:
            at = int(np.flatnonzero(a != b)[0]) if a.size == b.size else 0
            differences.append(f"{tensor.name} ({tensor.tensor_type.name}): {n} of {a.size} elements differ, the first "
                               f"is {at}: {a[at:at + 1].view(np.float32)} and {b[at:at + 1].view(np.float32)}")
    return differences


def read_safetensors(path):
    """BF16 tensors of a safetensors file as float32, by the format's definition: a length, JSON, then the data."""
    raw = path.read_bytes()
    header_bytes = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + header_bytes])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "BF16"
        begin, end = (8 + header_bytes + at for at in entry["data_offsets"])
        bits = np.frombuffer(raw[begin:end], dtype=np.uint16).astype(np.uint32) << 16
        tensors[name] = bits.view(np.float32).reshape(entry["shape"])
    return tensors


def rotary_order(rows, n_heads):
    """Rows of Q and K: Hugging Face rotates (i, i + half) of a head, GGUF's llama rotates neighbours."""
    return rows.reshape(n_heads, 2, rows.shape[0] // n_heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def compare_with_checkpoint(file, check):
    config = json.loads((CHECKPOINT / "config.json").read_text())
    source = read_safetensors(CHECKPOINT / "model.safetensors")
    names = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    parts = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    for layer in range(config["num_hidden_layers"]):
        for theirs, ours in parts.items():
            names[f"model.layers.{layer}.{theirs}.weight"] = f"blk.{layer}.{ours}.weight"
    written = {t.name: t.data for t in gguf.GGUFReader(file).tensors}
    wrong = []
    for name, values in source.items():
        if name.endswith("q_proj.weight"):
            values = rotary_order(values, config["num_attention_heads"])
        if name.endswith("k_proj.weight"):
            values = rotary_order(values, config["num_key_value_heads"])
        if not np.array_equal(written[names[name]], values):
            wrong.append(name)
    check("the F32 file holds the checkpoint's own weights", not wrong and len(written) == len(source), wrong)


def compare_conversions(ingot, folder, check):
    for target in TYPES:
        file = folder / f"{target}.gguf"
        ingot.run("convert", CHECKPOINT, "-t", target, "-o", file)
        reader = gguf.GGUFReader(file)
        report = ingot.json("inspect", file, "--full")
        differences = metadata_differences(report, reader) + tensor_differences(report, reader)
        check(f"{target}: gguf reads the same metadata and tensors", not differences, *differences)
        check(f"{target}: the summary names the type", report["summary"]["file_type"] == target,
              report["summary"]["file_type"])
        differences = decode_differences(file, ingot, folder)
        check(f"{target}: gguf decodes the same floats", not differences, *differences)
    compare_with_checkpoint(folder / "F32.gguf", check)

    for target in TYPES:
        again = folder / "again.gguf"
        ingot.run("quantize", folder / "F32.gguf", "-t", target, "-o", again, "--force")
        a, b = gguf.GGUFReader(folder / f"{target}.gguf"), gguf.GGUFReader(again)
        wrong = [x.name for x, y in zip(a.tensors, b.tensors)
                 if x.name != y.name or x.tensor_type != y.tensor_type or x.data.tobytes() != y.data.tobytes()]
        check(f"{target}: quantize writes the tensors that convert writes",
              not wrong and len(a.tensors) == len(b.tensors), wrong)


EVERY_VALUE = [
    ("v.uint8", 200, ValueType.UINT8), ("v.int8", -7, ValueType.INT8), ("v.uint16", 65535, ValueType.UINT16),
    ("v.int16", -32768, ValueType.INT16), ("v.uint32", 2**32 - 1, ValueType.UINT32),
    ("v.int32", -2**31, ValueType.INT32), ("v.float32", 0.1, ValueType.FLOAT32),
    ("v.float32.smallest", 1e-45, ValueType.FLOAT32), ("v.float32.largest", 3.4028234e38, ValueType.FLOAT32),
    ("v.bool.true", True, ValueType.BOOL), ("v.bool.false", False, ValueType.BOOL),
    ("v.string", "text with \"quotes\", \\, \n, \x01, ▁漢字😀", ValueType.STRING), ("v.string.empty", "", ValueType.STRING),
    ("v.uint64", 2**64 - 1, ValueType.UINT64), ("v.int64", -2**63, ValueType.INT64),
    ("v.float64", 0.1, ValueType.FLOAT64), ("v.float64.large", 1.7976931348623157e308, ValueType.FLOAT64),
]
EVERY_ARRAY = [
    ("a.uint8", [1, 2, 255], ValueType.UINT8), ("a.int8", [-128, 127], ValueType.INT8),
    ("a.uint16", [65535], ValueType.UINT16), ("a.int16", [-1, 1], ValueType.INT16),
    ("a.uint32", list(range(100)), ValueType.UINT32), ("a.int32", [-5, 5], ValueType.INT32),
    ("a.float32", [0.5, -1e-5, 1e30], ValueType.FLOAT32), ("a.bool", [True, False, True], ValueType.BOOL),
    ("a.string", ["", "a", "ß\n"], ValueType.STRING), ("a.uint64", [2**63], ValueType.UINT64),
    ("a.int64", [-2**62, 3], ValueType.INT64), ("a.float64", [math.pi, 1e-300], ValueType.FLOAT64),
]
NESTED = [("n.ints", [[1, 2, 3], [4], [5, 6]]), ("n.texts", [["a"], ["b", "c"]]), ("n.deep", [[[1], [2]], [[3]]])]


def random_blocks(kind, n_blocks, seed):
    """Blocks of random bits whose values are all finite; for the layouts whose scales are halves, some are not."""
    block_elements, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    generator = np.random.default_rng(seed)
    kept = []
    while len(kept) < n_blocks:
        block = generator.integers(0, 256, size=(1, block_bytes), dtype=np.uint8)
        with np.errstate(all="ignore"):
            values = gguf.quants.dequantize(block, kind)
        if np.isfinite(values).all():
            kept.append(block[0])
    return np.stack(kept)


def write_with_gguf(path):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(64)
    for key, value, kind in EVERY_VALUE:
        writer.add_key_value(key, value, kind)
    for key, value, kind in EVERY_ARRAY:
        writer.add_key_value(key, value, ValueType.ARRAY, sub_type=kind)
    for key, value in NESTED:
        writer.add_key_value(key, value, ValueType.ARRAY)
    generator = np.random.default_rng(1)
    shapes = {"one": (5,), "two": (3, 4), "three": (2, 3, 4), "four": (2, 1, 3, 4)}
    for name, shape in shapes.items():
        writer.add_tensor(f"f32.{name}", generator.standard_normal(shape).astype(np.float32))
    for dtype in (np.float16, np.float64, np.int8, np.int16, np.int32, np.int64):
        writer.add_tensor(f"plain.{np.dtype(dtype).name}", (100 * generator.standard_normal((3, 8))).astype(dtype))
    for kind in sorted(gguf.quants._type_traits):
        if kind == Type.BF16:
            bits = (generator.standard_normal((4, 32)).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
            writer.add_tensor("blocks.BF16", bits.view(np.uint8), raw_dtype=kind)
            continue
        blocks = random_blocks(kind, 12, int(kind)).reshape(4, -1)  # 4 rows of 3 blocks
        writer.add_tensor(f"blocks.{kind.name}", blocks, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def compare_gguf_written(ingot, folder, check):
    file = folder / "by-gguf.gguf"
    write_with_gguf(file)
    report = ingot.json("inspect", file, "--full")
    metadata = report["metadata"]
    for key, value, kind in EVERY_VALUE:
        ours = metadata[key]
        check(f"written by gguf: {key}", ours["type"] == VALUE_TYPES[kind] and same_value(ours["value"], value, kind),
              f"{ours} and {value!r}")
    for key, value, kind in EVERY_ARRAY:
        ours = metadata[key]
        check(f"written by gguf: {key}", ours["type"] == "array" and ours["element_type"] == VALUE_TYPES[kind] and
              ours["count"] == len(value) and same_value(ours["value"], value, kind), f"{ours} and {value!r}")
    for key, value in NESTED:
        check(f"written by gguf: {key}", metadata[key]["element_type"] == "array" and metadata[key]["value"] == value,
              f"{metadata[key]} and {value}")
    differences = tensor_differences(report, gguf.GGUFReader(file))
    check(f"written by gguf: {len(report['tensors'])} tensors of every type", not differences, *differences)
    check("written by gguf: alignment", report["summary"]["alignment_bytes"] == 64, report["summary"])


# The layouts that ingot decodes; the others it names and sizes. (Integers it copies: they are no weights.)
DECODED = ["F32", "F16", "BF16", "F64", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K",
           "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"]


def compare_random_blocks(ingot, folder, check):
    generator = np.random.default_rng(2)
    for name in DECODED:
        kind = Type[name]
        block_elements, _ = gguf.GGML_QUANT_SIZES[kind]
        file = folder / "random.gguf"
        writer = gguf.GGUFWriter(file, "llama")
        for key in ("block_count", "embedding_length", "attention.head_count"):
            writer.add_uint32(f"llama.{key}", 1)
        plain = {"F32": np.float32, "F16": np.float16, "F64": np.float64}
        if name in plain:
            writer.add_tensor("random.weight", (100 * generator.standard_normal((8, 256))).astype(plain[name]))
        elif name == "BF16":
            bits = (generator.standard_normal((8, 256)).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
            writer.add_tensor("random.weight", bits.view(np.uint8), raw_dtype=kind)
        else:
            blocks = random_blocks(kind, 2048, 7).reshape(64, -1)
            writer.add_tensor("random.weight", blocks, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        differences = decode_differences(file, ingot, folder)
        check(f"{name}: random blocks decode to the same floats", not differences, *differences)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ingot", default="build/ingot", help="the program (default: build/ingot)")
    ingot = Ingot(parser.parse_args().ingot)
    check = Checks()
    with tempfile.TemporaryDirectory(prefix="ingot-interop-") as name:
        compare_conversions(ingot, Path(name), check)
        compare_gguf_written(ingot, Path(name), check)
        compare_random_blocks(ingot, Path(name), check)
    check.finish()


if __name__ == "__main__":
    main()
