#!/usr/bin/env python3
"""Encoding speed beside Hugging Face's `tokenizers` and `sentencepiece`, one thread each, on the tokenizers that
tests/interop/tokenizer_parity.py --keep FOLDER left behind.

    taskset -c 1 python3 bench/tokenizer.py --ingot build/ingot --trained FOLDER

Both encode the same lines, in turns. Ingot's time is that of the program, less that of the same program for an
empty text (loading the vocabulary); the library's is that of its call for all lines.
"""
import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

import report
import sentencepiece
import tokenizers

SEPARATOR = "\n__next__\n"


def seconds(work, who):
    """On the wall, and of the processor in user mode: what other programs do on the machine shows less in the second."""
    wall, user = time.perf_counter(), resource.getrusage(who).ru_utime
    work()
    return time.perf_counter() - wall, resource.getrusage(who).ru_utime - user


def library_of(folder):
    """A function that encodes lines; None where the folder holds no tokenizer."""
    if not (folder / "model.gguf").exists():
        return None
    if (folder / "tokenizer.json").exists():
        return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode_batch
    if (folder / "tokenizer.model").exists():
        return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"), num_threads=1).encode
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ingot", default=report.ROOT / "build" / "ingot", help="the program (default: build/ingot)")
    parser.add_argument("--trained", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lines", type=int, default=20_000, help="of those that were kept")
    parser.add_argument("--only", nargs="*", help="names of tokenizers; the table stays as it is")
    options = parser.parse_args()
    program = str(Path(options.ingot).resolve())
    lines = (options.trained / "lines.txt").read_bytes().decode().split(SEPARATOR)[:-1][:options.lines]
    n_bytes = sum(len(line.encode()) for line in lines)

    rows, ratios = [], []
    with tempfile.NamedTemporaryFile() as empty, tempfile.NamedTemporaryFile() as text:
        text.write("".join(line + SEPARATOR for line in lines).encode())
        text.flush()
        for folder in sorted(options.trained.iterdir()):
            library = library_of(folder) if not options.only or folder.name in options.only else None
            if library is None:
                continue

            def ingot(file):
                subprocess.run([program, "tokenize", folder / "model.gguf", "--special", "--each", SEPARATOR, "-f", file.name],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
            ours, theirs = [], []
            for _ in range(options.rounds):
                loading = seconds(lambda: ingot(empty), resource.RUSAGE_CHILDREN)
                whole = seconds(lambda: ingot(text), resource.RUSAGE_CHILDREN)
                ours.append([b - a for a, b in zip(loading, whole)])
                theirs.append(seconds(lambda: library(lines), resource.RUSAGE_SELF))
            wall, user = ([b[clock] / a[clock] for a, b in zip(ours, theirs)] for clock in (0, 1))
            rate = [f"{n_bytes / 1e6 / statistics.median(times[1] for times in side):.1f}" for side in (ours, theirs)]
            ratios.append(statistics.median(user))
            rows.append([folder.name, *rate, f"{ratios[-1]:.1f}", f"{min(user):.1f} – {max(user):.1f}", f"{statistics.median(wall):.1f}"])
            print(*rows[-1], flush=True)
    if not options.only:
        report.write("tokenizer.md", report.heading("Encoding speed"),
                     f"{len(lines):,} lines of mixed text, {n_bytes / 1e6:.1f} MB; one thread; {options.rounds} rounds in turns. Beside "
                     f"tokenizers {tokenizers.__version__}, and sentencepiece {sentencepiece.__version__} (names with spm). Rates are "
                     "medians, per second of the processor in user mode; ratios are medians of the rounds' ratios (and their range), of "
                     "processor time and of time on the wall. The machine had other work.\n",
                     report.table(["tokenizer", "Ingot, MB/s", "library, MB/s", "ratio", "range", "ratio on the wall"], rows))
    sys.exit(0 if all(ratio >= 1 for ratio in ratios) else 1)


if __name__ == "__main__":
    main()
