#!/usr/bin/env python3
"""Conversion straight from a checkpoint to each type: seconds, rate, peak memory.

    bench/convert.py [--gib 4] [--types F16,Q8_0,Q4_0,Q4_K_M] [--folder DIR]

Makes a synthetic Llama-shaped bf16 checkpoint in shards (random weights; the shipped tokenizer), converts it, and
asks the operating system for the peak resident memory of each run. Needs numpy. Writes bench/results/convert.md.
"""
import argparse
import json
import os
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import numpy

import report

INGOT = report.ROOT / "build" / "ingot"
DEMO = report.ROOT / "tests" / "data" / "tolstoy-5m"
WIDTH, FEED_FORWARD, HEADS, KV_HEADS, VOCABULARY = 2048, 5632, 32, 4, 32000


def tensor_shapes(n_layers):
    kv_width = WIDTH // HEADS * KV_HEADS
    yield "model.embed_tokens.weight", (VOCABULARY, WIDTH)
    for layer in range(n_layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (WIDTH,)
        yield prefix + "self_attn.q_proj.weight", (WIDTH, WIDTH)
        yield prefix + "self_attn.k_proj.weight", (kv_width, WIDTH)
        yield prefix + "self_attn.v_proj.weight", (kv_width, WIDTH)
        yield prefix + "self_attn.o_proj.weight", (WIDTH, WIDTH)
        yield prefix + "post_attention_layernorm.weight", (WIDTH,)
        yield prefix + "mlp.gate_proj.weight", (FEED_FORWARD, WIDTH)
        yield prefix + "mlp.up_proj.weight", (FEED_FORWARD, WIDTH)
        yield prefix + "mlp.down_proj.weight", (WIDTH, FEED_FORWARD)
    yield "model.norm.weight", (WIDTH,)
    yield "lm_head.weight", (VOCABULARY, WIDTH)


def write_shard(path, shapes, pool):
    header, offset = {}, 0
    for name, shape in shapes:
        size = 2 * int(numpy.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for index, (name, shape) in enumerate(shapes):
            n = int(numpy.prod(shape))
            start = index * 7919 % (len(pool) // 2)
            while n:  # slices of one pool of random weights: what they are does not matter for speed
                piece = pool[start:start + n]
                file.write(piece.tobytes())
                n, start = n - len(piece), 0


def make_checkpoint(folder, gib):
    per_layer = sum(2 * int(numpy.prod(shape)) for name, shape in tensor_shapes(1) if ".layers." in name)
    n_layers = max(1, round(gib * 2**30 / per_layer))
    config = json.loads((DEMO / "config.json").read_text())
    config.update(hidden_size=WIDTH, intermediate_size=FEED_FORWARD, num_attention_heads=HEADS, head_dim=WIDTH // HEADS,
                  num_key_value_heads=KV_HEADS, num_hidden_layers=n_layers, vocab_size=VOCABULARY, tie_word_embeddings=False)
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"):
        shutil.copy(DEMO / name, folder)
    floats = numpy.random.default_rng(1).normal(0, 0.02, 1 << 24).astype(numpy.float32)
    pool = (floats.view(numpy.uint32) >> 16).astype(numpy.uint16)
    shards, current, size = [], [], 0
    for name, shape in tensor_shapes(n_layers):
        current.append((name, shape))
        size += 2 * int(numpy.prod(shape))
        if size > 1 << 30:
            shards, current, size = shards + [current], [], 0
    shards = [shard for shard in shards + [current] if shard]
    index = {}
    for number, shapes in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_shard(folder / file, shapes, pool)
        index.update({name: file for name, _ in shapes})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def measure(*command):
    started = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed")
    return time.perf_counter() - started, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gib", type=float, default=4)
    parser.add_argument("--types", default="F16,Q8_0,Q4_0,Q4_K_M,Q6_K")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", help="where the checkpoint goes (default: a temporary folder)")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        source_bytes = make_checkpoint(folder, options.gib)
        for kind in options.types.split(","):
            output = folder / "out.gguf"
            seconds, peak_mib, processor_seconds = measure(
                INGOT, "convert", folder, "-t", kind, "-o", output, "--force", "--threads", options.threads)
            rows.append([kind, f"{source_bytes / 2**30:.2f}", f"{output.stat().st_size / 2**30:.2f}", f"{seconds:.1f}",
                         f"{source_bytes / 1e6 / seconds:.0f}", f"{processor_seconds:.1f}", f"{peak_mib:.0f}"])
            output.unlink()
    report.write(
        "convert.md", report.heading(f"Conversion of a {source_bytes / 2**30:.1f} GiB bf16 checkpoint, {options.threads} threads"),
        "One pass from sharded safetensors to the target; peak memory is the process's largest resident set.\n",
        report.table(["type", "source, GiB", "result, GiB", "seconds", "source MB/s", "processor s", "peak MiB"], rows))


if __name__ == "__main__":
    main()
