#!/usr/bin/env python3
"""Kills conversions at random moments, lets the same command go on, and compares the result with an uninterrupted one.

    tests/interop/kill_and_resume.py [--ingot build/ingot] [--kills 50] [--mib 96] [--seed 1]

Needs nothing but Python. The checkpoint is synthetic (Llama-shaped, random BF16 weights, the shipped tokenizer).
Every round kills the program with SIGKILL once or several times, at moments spread over the time that a whole
conversion takes; then the same command must end well, the file must be the uninterrupted one byte for byte, and
nothing else may be left in the folder.
"""
import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DEMO = ROOT / "tests" / "data" / "tolstoy-5m"
WIDTH, FEED_FORWARD, HEADS, KV_HEADS, VOCABULARY = 512, 1536, 8, 4, 2048


def tensors(n_layers):
    yield "model.embed_tokens.weight", (VOCABULARY, WIDTH)
    for layer in range(n_layers):
        prefix = f"model.layers.{layer}."
        kv_width = WIDTH // HEADS * KV_HEADS
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


def n_elements(shape):
    return shape[0] * (shape[1] if len(shape) > 1 else 1)


def make_checkpoint(folder, mib, source):
    per_layer = sum(2 * n_elements(shape) for name, shape in tensors(1) if ".layers." in name)
    n_layers = max(1, round(mib * 2**20 / per_layer))
    config = json.loads((DEMO / "config.json").read_text())
    config.update(hidden_size=WIDTH, intermediate_size=FEED_FORWARD, num_attention_heads=HEADS,
                  num_key_value_heads=KV_HEADS, head_dim=WIDTH // HEADS, num_hidden_layers=n_layers)
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(DEMO / name, folder)
    header, offset = {}, 0
    for name, shape in tensors(n_layers):
        size = 2 * n_elements(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(header).encode()
    # Signs and mantissas at random, exponents of weights between 2^-8 and 2^-5.
    numbers = [source.getrandbits(7) | (119 + source.getrandbits(2)) << 7 | source.getrandbits(1) << 15 for _ in range(1 << 18)]
    pool = struct.pack(f"<{len(numbers)}H", *numbers)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for index, (_, shape) in enumerate(tensors(n_layers)):
            size, start = 2 * n_elements(shape), 2 * (index * 7919 % 1000)
            while size:
                piece = pool[start:start + size]
                file.write(piece)
                size, start = size - len(piece), 0
    return offset


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ingot", default="build/ingot")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--mib", type=float, default=96, help="size of the checkpoint")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    source = random.Random(options.seed)
    cases = [("Q4_K_M", ["--threads", "1"]), ("Q8_0", []), ("F16", ["--split-max-size", "20MB"]), ("Q4_0", [])]
    with tempfile.TemporaryDirectory(prefix="ingot-kill-") as name:
        root = Path(name)
        checkpoint = root / "checkpoint"
        checkpoint.mkdir()
        make_checkpoint(checkpoint, options.mib, source)
        expected, duration = {}, {}
        for kind, more in cases:
            folder = root / f"whole-{kind}"
            folder.mkdir()
            command = [options.ingot, "convert", checkpoint, "-t", kind, "-o", folder / "out.gguf", *more]
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            duration[kind] = time.perf_counter() - started
            expected[kind] = {path.name: digest(path) for path in folder.iterdir()}
        n_kills, n_rounds, n_resumed, n_finished_first = 0, 0, 0, 0
        while n_kills < options.kills:
            kind, more = cases[n_rounds % len(cases)]
            folder = root / "out"
            folder.mkdir()
            command = [options.ingot, "convert", checkpoint, "-t", kind, "-o", folder / "out.gguf", "--json", *more]
            for _ in range(source.choice([1, 1, 1, 2, 3])):
                process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
                time.sleep(source.uniform(0, 1.1 * duration[kind]))
                running = process.poll() is None
                process.send_signal(signal.SIGKILL)
                process.wait()
                names = {path.name for path in folder.iterdir()}
                if names == set(expected[kind]):
                    break  # it was done before the signal came
                n_kills += running
                # The shards of a split model appear one after the other, the first one last.
                check("out.gguf" not in names and not any("-00001-of-" in n and not n.endswith(".ingot-partial") for n in names),
                      f"{kind}: after a kill there are {sorted(names)}")
            if {path.name for path in folder.iterdir()} == set(expected[kind]):
                n_finished_first += 1
            else:
                done = subprocess.run([*map(str, command), "--force"], capture_output=True, text=True)
                check(done.returncode == 0, f"{kind}: {done.stderr}")
                n_resumed += json.loads(done.stdout)["resumed_tensors"] > 0
            found = {path.name: digest(path) for path in folder.iterdir()}
            check(found == expected[kind], f"{kind}: {found} is not {expected[kind]}")
            shutil.rmtree(folder)
            n_rounds += 1
        check(n_resumed > n_rounds / 4, f"only {n_resumed} of {n_rounds} conversions had something to go on with")
        print(f"ok: {n_kills} kills in {n_rounds} conversions; {n_resumed} went on from tensors that were there, "
              f"{n_finished_first} were done before the signal; all files as the uninterrupted ones, byte for byte")


if __name__ == "__main__":
    main()
