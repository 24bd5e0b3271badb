#!/usr/bin/env python3
"""Conversion straight from a checkpoint to each type: seconds, rate, peak memory; beside llama.cpp's way on request.

    bench/convert.py [--gib 4] [--types F16,Q8_0,Q4_0,Q4_K_M] [--rounds 3] [--folder DIR]
                     [--peer llama.cpp/convert_hf_to_gguf.py [--peer-python PYTHON]]

Makes a synthetic Llama-shaped bf16 checkpoint in shards (random weights; the shipped tokenizer) and converts it. With
--peer, your own copy of llama.cpp converts the same checkpoint to F16 with its Python script, and llama-cpp-python (in
--peer-python's environment) quantizes that file to every other type; rounds alternate between the two programs, and
medians are reported. Peak memory is the largest resident set of the process. Writes bench/results/convert.md. With
--folder /dev/shm the disk has no part in it.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import report

sys.path.insert(0, str(report.ROOT / "tests" / "interop"))
from checks import FILE_TYPES  # noqa: E402
from synthetic_checkpoint import Shape, make_checkpoint  # noqa: E402

SHAPE = Shape(width=2048, feed_forward=5632, heads=32, kv_heads=4, vocabulary=32000, tied=False)

# Runs a command from a small process: a child's peak memory counts from the size of the process that started it. What the
# disk still has to do when the command is through is measured too.
MEASURE = """
import json, os, resource, subprocess, sys, time
result, output, *command = sys.argv[1:]
started = time.perf_counter()
code = subprocess.call(command, stdout=subprocess.DEVNULL, stderr=open(result + ".err", "w"))
ended = time.perf_counter()
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
if code == 0:
    os.fsync(os.open(output, os.O_RDWR))
json.dump({"code": code, "seconds": ended - started, "sync": time.perf_counter() - ended, "peak_mib": usage.ru_maxrss / 1024,
           "processor": usage.ru_utime + usage.ru_stime}, open(result, "w"))
"""

# llama.cpp's quantizer: source, target, number of the type, threads. Its loader needs the file types' numbers.
QUANTIZE = """
import ctypes, sys, llama_cpp
parameters = llama_cpp.llama_model_quantize_default_params()
parameters.ftype, parameters.nthread = int(sys.argv[3]), int(sys.argv[4])
sys.exit(llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(parameters)))
"""


class Runs:
    """All runs of one kind: seconds, seconds until the disk has it all, processor seconds and peak MiB of each."""

    def __init__(self):
        self.runs = []

    def measure(self, folder, output, *command):
        result = folder / "measured.json"
        subprocess.run([sys.executable, "-S", "-E", "-c", MEASURE, *map(str, (result, output, *command))], check=True)
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
        source_bytes = make_checkpoint(folder, SHAPE, 1024 * options.gib, shard_mib=1024)
        output, f16, quantized = folder / "out.gguf", folder / "peer-f16.gguf", folder / "peer.gguf"
        for number in range(options.rounds):
            for kind in kinds:
                ours[kind].measure(folder, output, options.ingot, "convert", folder, "-t", kind, "-o", output, "--force",
                                   "--threads", options.threads)
                sizes[kind] = output.stat().st_size
                output.unlink()
                if not options.peer:
                    continue
                if not f16.exists():  # once a round
                    their_f16.measure(folder, f16, options.peer_python, options.peer, folder, "--outtype", "f16", "--outfile", f16)
                if kind != "F16":
                    theirs[kind].measure(folder, quantized, options.peer_python, "-c", QUANTIZE, f16, quantized,
                                         FILE_TYPES[kind], options.threads)
                    quantized.unlink()
            f16.unlink(missing_ok=True)
    header = ["type", "source, GiB", "result, GiB", "seconds", "source MB/s", "processor s", "peak MiB"]
    if options.peer:
        header += ["llama.cpp: seconds", "convert +", "quantize", "times ours", "on disk", "times ours", "processor s",
                   "times ours", "peak MiB, convert", "peak MiB, quantize"]
    rows = []
    for kind in kinds:
        seconds, processor = ours[kind].median("seconds"), ours[kind].median("processor")
        row = [kind, f"{source_bytes / 2**30:.2f}", f"{sizes[kind] / 2**30:.2f}", f"{seconds:.1f}",
               f"{source_bytes / 1e6 / seconds:.0f}", f"{processor:.1f}", f"{ours[kind].peak():.0f}"]
        if options.peer:
            steps = [their_f16] + ([theirs[kind]] if kind != "F16" else [])
            each = [step.median("seconds") for step in steps]
            on_disk = sum(each) + steps[-1].median("sync")
            their_processor = sum(step.median("processor") for step in steps)
            row += [f"{sum(each):.1f}", f"{each[0]:.1f}", f"{each[1]:.1f}" if len(each) > 1 else "", f"{sum(each) / seconds:.1f}",
                    f"{on_disk:.1f}", f"{on_disk / seconds:.1f}", f"{their_processor:.1f}", f"{their_processor / processor:.1f}",
                    f"{their_f16.peak():.0f}", f"{theirs[kind].peak():.0f}" if len(each) > 1 else ""]
        rows.append(row)
    notes = [f"One pass from sharded safetensors to the target, medians of {options.rounds}. Seconds end when the file is safe on "
             "the disk; peak memory is the process's largest resident set, mapped pages of the checkpoint included.\n"]
    if options.peer:
        notes.append("llama.cpp: convert_hf_to_gguf.py to F16 and, for the other types, its quantizer after that (the version "
                     "inside llama-cpp-python); the same checkpoint, in alternation. It does not wait for the disk: \"on disk\" "
                     "adds the seconds until its last file is as safe as ours.\n")
    report.write(
        options.result,
        report.heading(f"Conversion of a {source_bytes / 2**30:.1f} GiB bf16 checkpoint, {options.threads} threads"),
        *notes, report.table(header, rows))


if __name__ == "__main__":
    main()
