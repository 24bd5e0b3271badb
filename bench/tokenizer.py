#!/usr/bin/env python3
"""Encoding speed beside Hugging Face's `tokenizers`, one thread each, on the tokenizers that
tests/interop/tokenizer_parity.py --keep FOLDER left behind.

    taskset -c 1 python3 bench/tokenizer.py --ingot build/ingot --trained FOLDER

Both encode the same lines, in turns. Ingot's time is that of the program, less that of the same program for an
empty text (loading the vocabulary); the library's is that of encode_batch() alone.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

import report
from tokenizers import Tokenizer

SEPARATOR = "\n__next__\n"


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ingot", default="build/ingot")
    parser.add_argument("--trained", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of tokenizers")
    options = parser.parse_args()
    program = str(Path(options.ingot).resolve())
    lines = (options.trained / "lines.txt").read_bytes().decode().split(SEPARATOR)[:-1]
    n_bytes = sum(len(line.encode()) for line in lines)

    rows = []
    with tempfile.NamedTemporaryFile() as empty:
        for folder in sorted(options.trained.iterdir()):
            wanted = not options.only or folder.name in options.only
            if not wanted or not (folder / "tokenizer.json").exists() or not (folder / "model.gguf").exists():
                continue
            library = Tokenizer.from_file(str(folder / "tokenizer.json"))

            def ingot(text):
                subprocess.run([program, "tokenize", folder / "model.gguf", "--special", "--each", SEPARATOR, "-f", text],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
            ours, theirs = [], []
            for _ in range(options.rounds):
                loading = seconds(lambda: ingot(empty.name))
                ours.append(seconds(lambda: ingot(options.trained / "lines.txt")) - loading)
                theirs.append(seconds(lambda: library.encode_batch(lines)))
            ratio = statistics.median(b / a for a, b in zip(ours, theirs))
            rows.append([folder.name, *(f"{n_bytes / 1e6 / statistics.median(times):.1f}" for times in (ours, theirs)), f"{ratio:.1f}"])
            print(*rows[-1], flush=True)
    report.write("tokenizer.md", report.heading("Encoding speed"),
                 f"{len(lines)} lines of mixed text, {n_bytes / 1e6:.1f} MB; one thread; median of {options.rounds} rounds in turns. "
                 "The ratio is the median of the rounds' ratios.\n",
                 report.table(["tokenizer", "Ingot, MB/s", "tokenizers, MB/s", "ratio"], rows))
    sys.exit(0 if all(float(row[3]) >= 1 for row in rows) else 1)


if __name__ == "__main__":
    main()
