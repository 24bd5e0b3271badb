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
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import synthetic_checkpoint

SHAPE = synthetic_checkpoint.Shape(width=512, feed_forward=1536, heads=8, kv_heads=4, vocabulary=2048, tied=True)


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
        synthetic_checkpoint.make_checkpoint(checkpoint, SHAPE, options.mib, options.seed)
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
