#!/usr/bin/env python3
"""Quality with the same importance matrix: the shipped model in every type, mixed and pure, quantized by ingot and by
llama.cpp, on a text that neither saw.

    bench/imatrix.py TEXT [--types Q4_K_M,Q4_0] [--pure Q4_K_S]

The importance is measured by `ingot imatrix` on a text that the model wrote itself (sampled at temperature 1), and given to
both quantizers. All files are judged by llama.cpp: mean Kullback-Leibler divergence from the F32 model, and perplexity. Needs
llama-cpp-python in the Python that runs this (./dev interop sets one up). Writes bench/results/imatrix.md; the exit code is 3
when a divergence is above llama.cpp's.
"""
import sys
import tempfile
from pathlib import Path

import report

from judging import CONTEXT, Quality, arguments, percent, write_sample  # and it finds tests/interop
import llama
from checks import CHECKPOINT, TYPES, Ingot

PLAIN = ("F32", "F16", "BF16")
N_SAMPLES = 160  # of the calibration text
# Types whose mix has exceptions in this model, and one of each mix's kinds.
PURE = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "IQ4_XS", "Q2_K", "Q3_K_S", "Q4_K_S", "Q5_K_S"]


def save(mixed, pure, plain, missed, reference, text, sample_bytes):
    """After each row, so that a run that is cut short leaves what it has."""
    header = ["type", "bytes, ours", "bytes, llama.cpp", "perplexity, ours", "perplexity, llama.cpp's", "difference", "KL, ours",
              "KL, llama.cpp's", "KL"]
    report.write(
        "imatrix.md", report.heading("tolstoy-5m quantized with an importance matrix, beside llama.cpp's quantizer with the same"),
        f"Judged on {Path(text).name} ({Path(text).stat().st_size:,} bytes), context {CONTEXT}, by llama.cpp (the version inside "
        f"llama-cpp-python {llama.llama_cpp.__version__}), which runs all files. The importance comes from {sample_bytes:,} bytes "
        "that the model wrote itself, measured by `ingot imatrix`; both quantizers have that file. KL: mean divergence of the token "
        "probabilities from those of the F32 model in nats; lower is better. The difference of the perplexities has the standard "
        f"error that a text of this length leaves in it; the F32 model's perplexity is {reference.perplexity:.3f}.\n\n"
        + (f"Divergence above llama.cpp's: {', '.join(missed)}.\n" if missed else "No divergence is above llama.cpp's.\n"),
        "## Mixed\n\nThe same type for each tensor in both files.\n", report.table(header, mixed),
        "\n## Pure\n\n`--pure`: one type for all matrices.\n", report.table(header, pure),
        "\n## Pure, without importance\n", report.table(header, plain), quiet=True)


def main():
    parser = arguments(__doc__)
    parser.add_argument("--types", default=",".join(kind for kind in TYPES if kind not in PLAIN))
    parser.add_argument("--pure", default=",".join(PURE), help="types that are made with --pure, too")
    options = parser.parse_args()
    ingot = Ingot(options.ingot)
    text = Path(options.text).read_text()
    llama.start()

    missed = []
    with tempfile.TemporaryDirectory(prefix="ingot-imatrix-") as name:
        folder = Path(name)
        source, sample, importance = folder / "F32.gguf", folder / "sample.txt", folder / "imatrix.gguf"
        ours, theirs = folder / "ours.gguf", folder / "theirs.gguf"
        ingot.run("convert", CHECKPOINT, "-t", "F32", "-o", source)
        write_sample(ingot, source, sample, N_SAMPLES)
        ingot.run("imatrix", source, "-f", sample, "--context", CONTEXT, "-o", importance)
        columns = llama.read_importance(importance)
        reference = Quality(source, text, keep=True)

        mixed, pure, plain = [], [], []
        for rows, kinds, is_pure, is_weighted in ((mixed, options.types, False, True), (pure, options.pure, True, True),
                                                  (plain, options.pure, True, False)):
            for kind in filter(None, kinds.split(",")):
                label = f"{kind}{' pure' if is_pure else ''}{'' if is_weighted else ' without importance'}"
                ingot.run("quantize", source, "-t", kind, *(["--imatrix", importance] if is_weighted else []),
                          *(["--pure"] if is_pure else []), "--force", "-o", ours)
                try:
                    llama.quantize_with_llama(source, theirs, kind, columns if is_weighted else None, is_pure)
                except RuntimeError:  # it wants importance for its smallest types
                    rows.append([f"{kind}: refused by llama.cpp"] + [""] * 8)
                    continue
                a, b = (Quality(file, text, reference) for file in (ours, theirs))
                change = percent(a.divergence, b.divergence)
                noise = 100 * float((a.losses - b.losses).std() / len(a.losses) ** 0.5)
                rows.append([kind, f"{ours.stat().st_size:,}", f"{theirs.stat().st_size:,}", f"{a.perplexity:.3f}",
                             f"{b.perplexity:.3f}", f"{percent(a.perplexity, b.perplexity):+.2f} % ± {noise:.2f}",
                             f"{a.divergence:.6f}", f"{b.divergence:.6f}", f"{change:+.1f} %"])
                if change > 0:
                    missed.append(f"{label} ({change:+.1f} %)")
                print(label, *rows[-1], sep="  ", file=sys.stderr, flush=True)
                save(mixed, pure, plain, missed, reference, options.text, sample.stat().st_size)
        print((report.RESULTS / "imatrix.md").read_text())
    sys.exit(3 if missed else 0)


if __name__ == "__main__":
    main()
