#!/usr/bin/env python3
"""The searches behind each layout beside llama.cpp's quantizer: same matrices, same importance, one process.

    bench/quantize.py [--no-callgrind] [--measured FILE]

Needs build/bench/bench_quantize (configured with -DINGOT_BUILD_BENCH=ON) and llama-cpp-python in the Python that runs
this (./dev interop sets one up); valgrind for the instruction counts. Writes bench/results/quantize.md, with what
bench/quantize_tried.md says below the tables; the exit code is 3 when an error is higher than llama.cpp's.
"""
import argparse
import collections
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import llama_cpp

import report

sys.path.insert(0, str(report.ROOT / "tests" / "interop"))
from checks import CHECKPOINT, Ingot  # noqa: E402

PROGRAM = report.ROOT / "build" / "bench" / "bench_quantize"
LIBRARY = Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"
SETS = ["model", "gaussian", "heavy tails", "outlier columns", "row scales"]
CALLGRIND_WEIGHTS = 32 * 1024  # kCallgrindRows of bench/quantize.cpp
SPEED_GOALS = {"Q4_0": 3, "Q8_0": 3, "Q6_K": 3, "Q4_K": 5, "Q5_K": 5}


def instructions(model, side, kind, weighted):
    """Per weight, as callgrind counts them (it knows AVX2, not AVX-512)."""
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no",
         f"--toggle-collect=*quantize_{side}*", PROGRAM, LIBRARY, model, side, kind, str(int(weighted))],
        check=True, capture_output=True, text=True)
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1)) / CALLGRIND_WEIGHTS


def ratio(ours, theirs):
    """Of root mean squares, from mean squares."""
    return math.sqrt(ours / theirs) if theirs else 1.0


def error_tables(errors, missed):
    """`errors`: (type, weighted) -> set -> [(tensor, ours plain, ours weighted, theirs plain, theirs weighted)]."""
    tables = []
    for weighted in (False, True):
        minimised = 2 if weighted else 1  # column of ours
        rows = []
        for (kind, with_importance), sets in errors.items():
            if with_importance != weighted:
                continue
            row = [kind]
            for name in SETS:
                ratios = [ratio(tensor[minimised], tensor[minimised + 2]) for tensor in sets[name]]
                mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
                row.append(f"{mean:.4f}" + (f" (worst {max(ratios):.4f})" if len(ratios) > 1 else ""))
                missed += [f"{kind}{' with importance' if weighted else ''}: {name} {tensor[0]} {value:.4f}"
                           for tensor, value in zip(sets[name], ratios) if value >= 1]
            other = 3 - minimised
            others = [ratio(tensor[other], tensor[other + 2]) for name in SETS for tensor in sets[name]]
            rows.append([*row, f"{math.exp(sum(map(math.log, others)) / len(others)):.4f}"])
        last = "plain, all sets" if weighted else "σ² + x² weighted, all sets"
        tables.append(report.table(["type", *SETS, last], rows))
    return tables


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ingot", default=report.ROOT / "build" / "ingot", help="the program (default: build/ingot)")
    parser.add_argument("--no-callgrind", action="store_true")
    parser.add_argument("--measured", help="what bench_quantize printed in an earlier run, instead of a new one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ingot-quantize-") as folder:
        model = Path(folder) / "F32.gguf"
        Ingot(options.ingot).run("convert", CHECKPOINT, "-t", "F32", "-o", model)
        if options.measured:
            output = Path(options.measured).read_text()
        else:
            output = subprocess.run([PROGRAM, LIBRARY, model], check=True, capture_output=True, text=True).stdout
        errors = collections.defaultdict(lambda: collections.defaultdict(list))
        times = {}
        for line in output.splitlines():
            what, *fields = line.split("\t")
            if what == "error":
                name, tensor, kind, weighted, *values = fields
                errors[kind, weighted == "1"][name].append((tensor, *map(float, values)))
            else:
                kind, weighted, ours, theirs = fields
                times[kind, weighted == "1"] = float(ours), float(theirs)

        speeds, slow = [], []
        for (kind, weighted), (ours, theirs) in times.items():
            row = [kind, "yes" if weighted else "no", f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.1f} x"]
            if not options.no_callgrind:
                row += [f"{instructions(model, side, kind, weighted):.0f}" if kind in SPEED_GOALS else ""
                        for side in ("ours", "theirs")]
            if theirs / ours < SPEED_GOALS.get(kind, 0):
                slow.append(f"{kind} {'with' if weighted else 'without'} importance "
                            f"({theirs / ours:.1f} x of {SPEED_GOALS[kind]} x)")
            speeds.append(row)

    missed = []
    plain, weighted = error_tables(errors, missed)
    header = ["type", "importance", "ns, ours", "ns, llama.cpp", "speed"]
    if not options.no_callgrind:
        header += ["instructions, ours", "instructions, llama.cpp"]
    tried = (report.ROOT / "bench" / "quantize_tried.md").read_text()
    report.write(
        "quantize.md", report.heading("Quantizers beside llama.cpp's: error and speed"),
        f"llama.cpp: ggml_quantize_chunk() of the libggml-base inside llama-cpp-python {llama_cpp.__version__}, in the process "
        "that runs ours.\n",
        "## Error\n",
        "Root of the mean squared error, ours over llama.cpp's: below 1 ours is lower. The model's 43 matrices are "
        "tolstoy-5m's (geometric mean, and the worst tensor); the other sets are 128 × 1024 matrices of drawn numbers: "
        "gaussian; Student's t with three degrees of freedom; gaussian with eight columns twenty times as large; gaussian "
        "with a factor for each row and column.\n",
        "### Without importance\n",
        "All squared errors count alike in these columns but the last, whose weight is σ² + x² (σ² is the row's mean square): "
        "what some of llama.cpp's searches favour when they have no importance. Ours minimise the plain error, or, for Q2_K and "
        "Q4_1, one with the weight √(σ² + x²): see below for why.\n", plain,
        "### With importance\n",
        "The same importance for both, drawn log-normally for each column; it is the weight of the squared errors here. "
        "(llama.cpp's searches multiply it by √(σ² + x²) for most layouts; for Q8_0, MXFP4, TQ1_0 and TQ2_0 they ignore it.) "
        "The last column is the plain error, which neither minimises.\n", weighted,
        ("Higher than llama.cpp's: " + "; ".join(missed) + ".\n") if missed else "Higher than llama.cpp's on no tensor.\n",
        "## Speed\n",
        "One thread each, nanoseconds of processor time per weight, the least of five runs that take turns, on 256 × 1024 "
        "gaussian numbers; rows are independent, so threads scale both alike." +
        ("" if options.no_callgrind else " Instructions per weight, for the types that have a goal, as callgrind counts them: it has AVX2 but not AVX-512.") + "\n",
        report.table(header, speeds),
        (f"Below the goal: {', '.join(slow)}.\n" if slow else "All goals are met.\n"), tried)
    sys.exit(3 if missed else 0)


if __name__ == "__main__":
    main()
