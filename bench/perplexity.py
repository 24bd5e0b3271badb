#!/usr/bin/env python3
"""Quality in the same bytes: the shipped model in every type, quantized by ingot and by llama.cpp, on a text that it
never saw.

    bench/perplexity.py TEXT [--types Q4_K_M,Q4_0]

Perplexity is measured in both programs, and for both files in one of them (llama.cpp): there the Kullback-Leibler
divergence from the F32 model too, which tells quantizers apart long before perplexity does. Needs llama-cpp-python
in the Python that runs this (./dev interop sets one up). Writes bench/results/perplexity.md; the exit code is 3 when
a perplexity is more than 0.2 % above llama.cpp's.
"""
import sys
import tempfile
from pathlib import Path

import numpy as np

import report

from judging import CONTEXT, Quality, arguments, percent  # and it finds tests/interop
import llama
from checks import CHECKPOINT, TYPES, Ingot

BAR = 0.2  # percent


def main():
    parser = arguments(__doc__)
    parser.add_argument("--types", default=",".join(TYPES))
    options = parser.parse_args()
    ingot = Ingot(options.ingot)
    text = Path(options.text).read_text()
    llama.start()

    rows, missed = [], []
    with tempfile.TemporaryDirectory(prefix="ingot-perplexity-") as name:
        folder = Path(name)
        ingot.run("convert", CHECKPOINT, "-t", "F32", "-o", folder / "F32.gguf")
        reference = Quality(folder / "F32.gguf", text, keep=True)
        for kind in options.types.split(","):
            ours, theirs = folder / f"{kind}.gguf", folder / "theirs.gguf"
            if not ours.exists():
                ingot.run("convert", CHECKPOINT, "-t", kind, "-o", ours)
            in_ingot = ingot.json("perplexity", ours, "-f", options.text, "--context", CONTEXT)["perplexity"]
            a = Quality(ours, text, reference)
            try:
                llama.quantize_with_llama(folder / "F32.gguf", theirs, kind)
            except RuntimeError:  # it wants an importance matrix for its smallest types
                rows.append([kind, f"{ours.stat().st_size:,}", "refused", f"{in_ingot:.3f}", f"{a.perplexity:.3f}", "", "",
                             f"{a.divergence:.6f}", "", ""])
                continue
            b = Quality(theirs, text, reference)
            change = percent(in_ingot, b.perplexity)
            # Of the mean of the tokens' differences, as if tokens were independent; in percent of the perplexity.
            noise = 100 * float((a.losses - b.losses).std() / np.sqrt(len(a.losses)))
            same = a.divergence < 1e-6 and b.divergence < 1e-6
            rows.append([kind, f"{ours.stat().st_size:,}", f"{theirs.stat().st_size:,}", f"{in_ingot:.3f}",
                         f"{a.perplexity:.3f}", f"{b.perplexity:.3f}", f"{change:+.2f} % ± {noise:.2f}",
                         f"{a.divergence:.6f}", f"{b.divergence:.6f}",
                         "" if same else f"{percent(a.divergence, b.divergence):+.1f} %"])
            if change >= BAR:
                missed.append(f"{kind} ({change:+.2f} %)")
            print(*rows[-1], sep="  ", file=sys.stderr, flush=True)

    report.write(
        "perplexity.md", report.heading("Perplexity of tolstoy-5m, beside llama.cpp's quantizer"),
        f"Text: {Path(options.text).name} ({len(text.encode()):,} bytes), context {CONTEXT}, llama.cpp's convention (BOS at the "
        "front of each chunk, second half scored). llama.cpp: the version inside llama-cpp-python "
        f"{llama.llama_cpp.__version__}. Neither quantizer had an importance matrix.\n\n"
        "Perplexity: our file in both programs, llama.cpp's file in llama.cpp; lower is better. The difference is our file in "
        "Ingot against llama.cpp's file in llama.cpp, with the standard error that a text of this length leaves in it. KL: mean "
        "divergence of the token probabilities from those of the F32 model in nats, both files run by llama.cpp; lower is "
        "better. Refused: llama.cpp makes this type only with an importance matrix.\n\n" + (f"Perplexity above llama.cpp's by {BAR} % or more: {', '.join(missed)}.\n" if missed else
                         f"No perplexity is {BAR} % or more above llama.cpp's.\n"),
        report.table(["type", "bytes, ours", "bytes, llama.cpp", "ours in Ingot", "ours in llama.cpp", "llama.cpp's",
                      "difference", "KL, ours", "KL, llama.cpp's", "KL"], rows))
    sys.exit(3 if missed else 0)


if __name__ == "__main__":
    main()
