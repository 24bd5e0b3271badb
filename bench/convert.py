#!/usr/bin/env python3
"""Conversion straight from a checkpoint to each type: seconds, rate, peak memory; beside llama.cpp's way on request.

    bench/convert.py [--gib 4] [--types F16,Q8_0,Q4_0,Q4_K_M] [--rounds 3] [--folder DIR]
                     [--peer llama.cpp/convert_hf_to_gguf.py [--peer-python PYTHON]]

Makes a synthetic Llama-shaped bf16 checkpoint in shards (random weights; the shipped tokenizer) and converts it. With
--peer, your own copy of llama.cpp converts the same checkpoint to F16 with its Python script, and llama-cpp-python (in
--peer-python's environment) quantizes that file to every other type; rounds alternate between the two programs, and
medians are reported. Peak memory is the largest resident set of the process. Needs numpy. Writes bench/results/convert.md.
"""
import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy

import report

DEMO = report.ROOT / "tests" / "data" / "tolstoy-5m"
WIDTH, FEED_FORWARD, HEADS, KV_HEADS, VOCABULARY = 2048, 5632, 32, 4, 32000

# Runs a command from a small process: a child's peak memory counts from the size of the process that started it.
MEASURE = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
code = subprocess.call(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=open(sys.argv[1] + ".err", "w"))
seconds = time.perf_counter() - started
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
json.dump({"code": code, "seconds": seconds, "peak_mib": usage.ru_maxrss / 1024,
           "processor": usage.ru_utime + usage.ru_stime}, open(sys.argv[1], "w"))
"""

# llama.cpp's quantizer: source, target, number of the type, threads. Its loader needs the file types' numbers.
QUANTIZE = """
import ctypes, sys, llama_cpp
parameters = llama_cpp.llama_model_quantize_default_params()
parameters.ftype, parameters.nthread = int(sys.argv[3]), int(sys.argv[4])
sys.exit(llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(parameters)))
"""
FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_M": 12, "Q4_K_S": 14,
              "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18}


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


class Runs:
    """All runs of one kind: seconds, processor seconds and peak MiB of each."""

    def __init__(self):
        self.runs = []

    def measure(self, folder, *command):
        result = folder / "measured.json"
        subprocess.run([sys.executable, "-S", "-E", "-c", MEASURE, str(result), *map(str, command)], check=True)
        run = json.loads(result.read_text())
        if run["code"]:
            errors = Path(f"{result}.err").read_text()
            raise SystemExit(f"{' '.join(map(str, command))} failed:\n{errors[-2000:]}")
        self.runs.append(run)

    def median(self, key):
        return statistics.median(run[key] for run in self.runs)

    def peak(self):
        return max(run["peak_mib"] for run in self.runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ingot", type=Path, default=report.ROOT / "build" / "ingot")
    parser.add_argument("--gib", type=float, default=4)
    parser.add_argument("--types", default="F16,Q8_0,Q4_0,Q4_K_M,Q6_K")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=1, help="runs of each; medians are reported")
    parser.add_argument("--folder", help="where the checkpoint goes (default: a temporary folder)")
    parser.add_argument("--peer", type=Path, help="convert_hf_to_gguf.py of a llama.cpp of yours")
    parser.add_argument("--peer-python", default=sys.executable, help="Python with its requirements and llama-cpp-python")
    parser.add_argument("--result", default="convert.md", help="file in bench/results/")
    options = parser.parse_args()
    kinds = options.types.split(",")
    ours, theirs = {kind: Runs() for kind in kinds}, {kind: Runs() for kind in kinds}
    their_f16, sizes = Runs(), {}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        source_bytes = make_checkpoint(folder, options.gib)
        output, f16, quantized = folder / "out.gguf", folder / "peer-f16.gguf", folder / "peer.gguf"
        for number in range(options.rounds):
            for kind in kinds:
                ours[kind].measure(folder, options.ingot, "convert", folder, "-t", kind, "-o", output, "--force",
                                   "--threads", options.threads)
                sizes[kind] = output.stat().st_size
                output.unlink()
                if not options.peer:
                    continue
                if not f16.exists():  # once a round
                    their_f16.measure(folder, options.peer_python, options.peer, folder, "--outtype", "f16", "--outfile", f16)
                if kind != "F16":
                    theirs[kind].measure(folder, options.peer_python, "-c", QUANTIZE, f16, quantized, FILE_TYPES[kind],
                                         options.threads)
                    quantized.unlink()
            f16.unlink(missing_ok=True)
    header = ["type", "source, GiB", "result, GiB", "seconds", "source MB/s", "processor s", "peak MiB"]
    if options.peer:
        header += ["llama.cpp: seconds", "convert +", "quantize", "times ours", "processor s", "peak MiB, convert", "peak MiB, quantize"]
    rows = []
    for kind in kinds:
        seconds = ours[kind].median("seconds")
        row = [kind, f"{source_bytes / 2**30:.2f}", f"{sizes[kind] / 2**30:.2f}", f"{seconds:.1f}",
               f"{source_bytes / 1e6 / seconds:.0f}", f"{ours[kind].median('processor'):.1f}", f"{ours[kind].peak():.0f}"]
        if options.peer:
            convert = their_f16.median("seconds")
            quantize = theirs[kind].median("seconds") if kind != "F16" else 0
            processor = their_f16.median("processor") + (theirs[kind].median("processor") if kind != "F16" else 0)
            row += [f"{convert + quantize:.1f}", f"{convert:.1f}", f"{quantize:.1f}" if quantize else "",
                    f"{(convert + quantize) / seconds:.1f}", f"{processor:.1f}", f"{their_f16.peak():.0f}",
                    f"{theirs[kind].peak():.0f}" if quantize else ""]
        rows.append(row)
    notes = [f"One pass from sharded safetensors to the target, medians of {options.rounds}; peak memory is the process's "
             "largest resident set, mapped pages of the checkpoint included.\n"]
    if options.peer:
        notes.append("llama.cpp: convert_hf_to_gguf.py to F16 and, for the other types, its quantizer after that (the version "
                     "inside llama-cpp-python); the same checkpoint, in alternation.\n")
    report.write(
        options.result,
        report.heading(f"Conversion of a {source_bytes / 2**30:.1f} GiB bf16 checkpoint, {options.threads} threads"),
        *notes, report.table(header, rows))


if __name__ == "__main__":
    main()
