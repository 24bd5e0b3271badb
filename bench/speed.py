#!/usr/bin/env python3
"""Speed of prompt and generation beside llama.cpp: same file, same threads, alternating runs, medians of ratios.

    bench/speed.py [--types Q4_0,Q4_K_M,Q8_0] [--shape llama-1.1b] [--rounds 5] [--threads 2]

Makes synthetic files with `ingot bench --shape`. Needs llama-cpp-python built for the native processor in the
Python that runs this (./dev interop sets one up). Writes bench/results/speed.md.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import report

INGOT = report.ROOT / "build" / "ingot"


def run(*command):
    return json.loads(subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout)


def median_and_spread(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--types", default="Q4_0,Q4_K_M,Q8_0")
    parser.add_argument("--shape", default="llama-1.1b")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=48)
    parser.add_argument("--folder", help="where the synthetic files go (default: a temporary folder)")
    options = parser.parse_args()

    decode_rows, prefill_rows = [], []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for kind in options.types.split(","):
            file = Path(folder) / f"{options.shape}-{kind}.gguf"
            subprocess.run([INGOT, "bench", "--shape", options.shape, "--type", kind, "--keep", file,
                            "--prompt", "8", "--generate", "1", "--repetitions", "1"], check=True, capture_output=True)
            measured = {"ours": [], "llama.cpp": []}
            common = ["--prompt", options.prompt, "--generate", options.generate, "--threads", options.threads]
            for _ in range(options.rounds):
                ours = run(INGOT, "bench", file, *common, "--repetitions", 1, "--json")
                measured["ours"].append((ours["prompt"]["tokens_per_second"]["median"],
                                         ours["generate"]["tokens_per_second"]["median"]))
                theirs = run(sys.executable, Path(__file__).with_name("llama_speed.py"), file, *common)
                measured["llama.cpp"].append((theirs["prompt_tokens_per_second"], theirs["generate_tokens_per_second"]))
                print(kind, measured["ours"][-1], measured["llama.cpp"][-1], file=sys.stderr, flush=True)
            for rows, part in ((prefill_rows, 0), (decode_rows, 1)):
                a = [pair[part] for pair in measured["ours"]]
                b = [pair[part] for pair in measured["llama.cpp"]]
                ratio = statistics.median(x / y for x, y in zip(a, b))
                rows.append([kind, f"{file.stat().st_size / 1e6:.0f}", median_and_spread(a), median_and_spread(b), f"{ratio:.2f}"])
            file.unlink()

    header = ["type", "MB", "ingot, tok/s", "llama.cpp, tok/s", "ratio"]
    report.write(
        "speed.md",
        report.heading(f"Speed beside llama.cpp, shape {options.shape}, {options.threads} threads"),
        f"Medians (least–most) of {options.rounds} alternating runs; the ratio is the median of the pairs' ratios, "
        "ours over llama.cpp's: above 1 is faster. Peer: llama-cpp-python as pinned in tests/interop, built for the native "
        "processor, its repacked kernels on, but without AMX (`./dev interop` says why): with AMX its prefill would be faster.\n",
        f"## Decode: {options.generate} tokens after an empty context\n", report.table(header, decode_rows),
        f"## Prefill: a prompt of {options.prompt} tokens in one batch\n", report.table(header, prefill_rows))


if __name__ == "__main__":
    main()
