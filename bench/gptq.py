#!/usr/bin/env python3
"""Error feedback beside fits and beside llama.cpp's quantizer, with the same calibration text, on a text that none of
them saw.

    bench/gptq.py TEXT [--types Q4_K_M,Q4_0]

The calibration text is written by the model itself (sampled at temperature 1). From it come the importance matrix, which
both programs' fits use, and the second moments of --method gptq. All files are judged by llama.cpp: mean Kullback-Leibler
divergence from the F32 model. Needs llama-cpp-python in the Python that runs this (./dev interop sets one up). Writes
bench/results/gptq.md; the exit code is 3 when error feedback for Q4_K_M is not at least 25 % below llama.cpp's file.
"""
import json
import resource
import sys
import tempfile
from pathlib import Path

import report

from judging import CONTEXT, Quality, arguments, percent, write_sample  # and it finds tests/interop
import llama
from checks import CHECKPOINT, Ingot

GOAL = -25  # percent, of Q4_K_M
N_SAMPLES = 160  # of the calibration text
TYPES = "Q4_K_M Q4_K_S Q4_0 Q4_1 Q3_K_M Q2_K Q5_K_M Q5_0 Q5_1 Q6_K Q8_0 IQ4_NL IQ4_XS".split()


RAW = report.RESULTS / "gptq.json"  # rows by type, each with the commit that it was measured at


def save(rows, perplexity, text, sample_bytes):
    """After each row, so that a run that is cut short leaves what it has; rows of earlier runs stay."""
    RAW.write_text(json.dumps(rows, indent=1) + "\n")
    report.write(
        "gptq.md", report.heading("Error feedback: divergence of tolstoy-5m, beside fits and llama.cpp's quantizer"),
        f"Judged on {Path(text).name} ({Path(text).stat().st_size:,} bytes), context {CONTEXT}, by llama.cpp (the version inside "
        f"llama-cpp-python {llama.llama_cpp.__version__}), which runs all files. Calibrated on {sample_bytes:,} bytes that the model "
        "wrote itself, as it does when `--method gptq` is given no text; nothing of the judging text was seen. Numbers are mean "
        "divergences of the token probabilities from those of the F32 model in nats; lower is better. Files of a row have the "
        "same types for each tensor. Importance: measured by `ingot imatrix` on the same text, for both programs. The last "
        "columns: how far error feedback is below llama.cpp's two files, perplexities (the F32 model's is "
        f"{perplexity:.3f}), the processor time of all threads, and the commit that the row was measured at.\n",
        report.table(["type", "llama.cpp", "llama.cpp, importance", "fit, importance", "gptq", "gptq to llama.cpp",
                      "gptq to llama.cpp, importance", "perplexity, llama.cpp, importance", "perplexity, gptq",
                      "processor time of gptq", "commit"], [[kind, *rows[kind]] for kind in TYPES if kind in rows]), quiet=True)


def main():
    parser = arguments(__doc__)
    parser.add_argument("--types", default=",".join(TYPES), help="only these; the others' rows stay as they are")
    options = parser.parse_args()
    ingot = Ingot(options.ingot)
    text = Path(options.text).read_text()
    llama.start()

    rows = json.loads(RAW.read_text()) if RAW.exists() else {}
    missed = []
    with tempfile.TemporaryDirectory(prefix="ingot-gptq-") as name:
        folder = Path(name)
        source, sample, importance = folder / "F32.gguf", folder / "sample.txt", folder / "imatrix.gguf"
        ingot.run("convert", CHECKPOINT, "-t", "F32", "-o", source)
        write_sample(ingot, source, sample, N_SAMPLES)
        ingot.run("imatrix", source, "-f", sample, "--context", CONTEXT, "-o", importance)
        columns = llama.read_importance(importance)
        reference = Quality(source, text, keep=True)
        for kind in options.types.split(","):
            file = folder / "file.gguf"

            def judged(make):
                file.unlink(missing_ok=True)
                make()
                return Quality(file, text, reference)

            def quantize(*more):
                return judged(lambda: ingot.run("quantize", source, "-t", kind, *more, "-o", file))

            theirs = judged(lambda: llama.quantize_with_llama(source, file, kind))
            theirs_weighted = judged(lambda: llama.quantize_with_llama(source, file, kind, columns))
            weighted = quantize("--imatrix", importance)
            file.unlink()
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            ingot.run("quantize", source, "-t", kind, "--method", "gptq", "--calibration", sample, "-o", file)
            seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
            fed = Quality(file, text, reference)
            changes = [percent(fed.divergence, peer.divergence) for peer in (theirs, theirs_weighted)]
            if kind == "Q4_K_M" and max(changes) > GOAL:
                missed.append(f"{kind} ({max(changes):+.1f} %)")
            qualities = theirs, theirs_weighted, weighted, fed
            rows[kind] = [*(f"{quality.divergence:.6f}" for quality in qualities), *(f"{change:+.1f} %" for change in changes),
                         f"{theirs_weighted.perplexity:.3f}", f"{fed.perplexity:.3f}", f"{seconds:.0f} s",
                          report.commit()]
            print(kind, *rows[kind], sep="  ", file=sys.stderr, flush=True)
            save(rows, reference.perplexity, options.text, sample.stat().st_size)
        print((report.RESULTS / "gptq.md").read_text())
    sys.exit(3 if missed else 0)


if __name__ == "__main__":
    main()
