#!/usr/bin/env python3
"""Quality in the bytes of the named mixes: the shipped model with types that `--target-size` chose, beside the mixes.

    bench/targets.py TEXT [--mixes Q4_K_M,Q5_K_M]

Types are chosen twice for each size: by the error of each tensor alone, and by the divergences that each tensor causes on a
text (--target-text). That text is written by the model itself (sampled at temperature 1), so TEXT, on which all files are
judged, has no part in any choice. Both files and the mix are judged by llama.cpp: mean Kullback-Leibler divergence from the
F32 model. Needs llama-cpp-python in the Python that runs this (./dev interop sets one up). Writes bench/results/targets.md;
the exit code is 3 when a choice by divergences is not at least 10 % below its mix.
"""
import sys
import tempfile
from pathlib import Path

import report

from judging import SAMPLE_TOKENS, Quality, arguments, percent, write_sample  # and it finds tests/interop
import llama
from checks import CHECKPOINT, Ingot

GOAL = -10  # percent
N_SAMPLES = 60


def types_of(ingot, file):
    summary = ingot.json("inspect", file)["summary"]
    return ", ".join(f"{row['tensors']} {row['type']}" for row in summary["types"] if row["type"] != "F32")


def main():
    parser = arguments(__doc__)
    parser.add_argument("--mixes", default="Q3_K_M,Q4_K_M,Q5_K_M")
    options = parser.parse_args()
    ingot = Ingot(options.ingot)
    text = Path(options.text).read_text()
    llama.start()

    rows, missed = [], []
    with tempfile.TemporaryDirectory(prefix="ingot-targets-") as name:
        folder = Path(name)
        source, sample = folder / "F32.gguf", folder / "sample.txt"
        ingot.run("convert", CHECKPOINT, "-t", "F32", "-o", source)
        write_sample(ingot, source, sample, N_SAMPLES)
        reference = Quality(source, text, keep=True)
        for mix in options.mixes.split(","):
            files = {mix: folder / f"{mix}.gguf"}
            ingot.run("quantize", source, "-t", mix, "-o", files[mix])
            size = files[mix].stat().st_size
            for kind, more in ("by error", []), ("by divergence", ["--target-text", sample]):
                files[kind] = folder / f"{mix}-{kind.replace(' ', '-')}.gguf"
                ingot.run("quantize", source, "--target-size", size, *more, "-o", files[kind])
            named = None
            for kind, file in files.items():
                quality = Quality(file, text, reference)
                named = named or quality
                change = percent(quality.divergence, named.divergence)
                rows.append([kind if kind == mix else f"{mix}'s bytes, {kind}", f"{file.stat().st_size:,}", types_of(ingot, file),
                             f"{quality.perplexity:.3f}", f"{quality.divergence:.6f}", "" if kind == mix else f"{change:+.1f} %"])
                if kind == "by divergence" and change > GOAL:
                    missed.append(f"{mix} ({change:+.1f} %)")
                print(*rows[-1], sep="  ", file=sys.stderr, flush=True)

    report.write(
        "targets.md", report.heading("Types chosen for a size, beside the named mixes of that size"),
        f"The shipped model. Judged on {Path(options.text).name} ({len(text.encode()):,} bytes), which no choice has seen, context "
        "256, by llama.cpp (the version inside llama-cpp-python "
        f"{llama.llama_cpp.__version__}). KL: mean divergence of the token probabilities from those of the F32 model in nats; "
        "lower is better. By error: `--target-size BYTES`. By divergence: the same with `--target-text`, a text of "
        f"{N_SAMPLES} × {SAMPLE_TOKENS} tokens that the model itself wrote, of which 4,096 tokens are used. No importance "
        "matrix.\n\n"
        + (f"Choices by divergence less than {-GOAL} % below their mix: {', '.join(missed)}.\n" if missed else
           f"Every choice by divergence is more than {-GOAL} % below its mix.\n"),
        report.table(["types", "bytes", "matrices", "perplexity", "KL", "against the mix"], rows))
    sys.exit(3 if missed else 0)


if __name__ == "__main__":
    main()
