#!/usr/bin/env python3
"""The CPU kernels alone, by layout and number of threads: decode as a share of what plain reading reaches in the
same run, prefill as a share of what the multiplying instruction reaches alone, and the thread pool's barrier.

    bench/kernels.py

Needs build/bench/bench_kernels (configured with -DINGOT_BUILD_BENCH=ON). Writes bench/results/kernels.md.
"""
import json
import subprocess

import report

PROGRAM = report.ROOT / "build" / "bench" / "bench_kernels"


def main():
    output = subprocess.run([PROGRAM, "--benchmark_format=json"], check=True, capture_output=True, text=True).stdout
    measured = json.loads(output)
    context = measured["context"]
    layouts, barriers, threads = {}, [], []
    for row in measured["benchmarks"]:
        what, *rest = row["name"].split("/")
        if what == "barrier":
            barriers.append((rest[0], row["real_time"], row["time_unit"]))
            continue
        count = rest[1]
        if count not in threads:
            threads.append(count)
        layouts.setdefault(rest[0], {})[what, count] = row

    def rows(what, *columns):
        return [[layout, *(form(cells[what, count]) for count in threads for form in columns)]
                for layout, cells in layouts.items()]

    decode = rows("decode", lambda row: f"{row['GB/s'] / 1:.1f}", lambda row: f"{100 * row['of_read']:.0f} %")
    prefill = rows("prefill", lambda row: f"{row['GMAC/s']:.0f}",
                   lambda row: f"{100 * row['of_limit']:.0f} %" if "of_limit" in row else "–")
    plural = {count: f"{count} thread{'s' if count != '1' else ''}" for count in threads}
    report.write(
        "kernels.md",
        report.heading(f"CPU kernels, instruction set {context['instruction set']}"),
        "## Decode: one token, 400 MiB of weights\n",
        "Gigabytes of weights per second, and their share of what plain reading reached in the same run, pass by pass "
        "(medians; above 100 % the kernel reads faster than the reading loop does).\n",
        report.table(["layout", *(f"{title}, {plural[count]}" for count in threads for title in ("GB/s", "of reading"))], decode),
        "## Prefill: 512 tokens × 4096 inputs × 1024 rows\n",
        "Billions of multiplications (with as many additions) per second, and their share of what the instruction that the "
        f"kernel is made of reaches alone in the same run (fused multiply-add for F32, F16 and BF16, "
        f"{context['int8 instruction']} for the others). Scales that are not powers of two cost two more instructions for each "
        "16 outputs and group of inputs: with groups of 32 (eight multiplications) 80 % is the most, with groups of 16 "
        "(Q6_K) 67 %; the scales of Q2_K and Q3_K fit into the weights' bytes.\n",
        report.table(["layout", *(f"{title}, {plural[count]}" for count in threads for title in ("GMAC/s", "of limit"))],
                     prefill),
        "## Barrier: an empty job of the thread pool\n",
        report.table(["threads", "time"], [[count, f"{time:.0f} {unit}"] for count, time, unit in barriers]))


if __name__ == "__main__":
    main()
