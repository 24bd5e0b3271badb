#!/usr/bin/env python3
"""Speed of prompt and generation beside llama.cpp and beside the machine's own limits: same file, same threads,
alternating runs, medians of ratios.

    bench/cpu.py [PART...] [--rounds 5] [--types Q4_0,...] [--folder FOLDER]

Parts (all if none is named):
    layouts   a Llama shape of 1.1 B random weights in every layout
    large     a Llama shape of 8 B in a few (needs 9 GB of disk)
    small     the shipped model of 5 M weights, 1 and 2 threads: what hand-offs between threads cost
    threads   1.1 B with 1, 2 and 4 threads, the latter two on a thread's worth too few processors
    context   a Llama shape of 3 B, the cost of a token as the context grows to 8192 (also as
              bench/results/cpu-context.svg); about 10 minutes a round

Each part leaves what it measured in bench/results/cpu.json; bench/results/cpu.md shows all parts that are there.
Needs build/ingot, and llama-cpp-python built for the native processor in the Python that runs this (./dev interop
sets one up).
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
from context_chart import chart

INGOT = report.ROOT / "build" / "ingot"
RAW = report.RESULTS / "cpu.json"
LAYOUTS = ("F16,BF16,Q8_0,Q6_K,Q5_K,Q4_K,Q3_K,Q2_K,Q5_1,Q5_0,Q4_1,Q4_0,IQ4_XS,IQ4_NL,Q4_K_M").split(",")


def run(*command, processors=None):
    """One program's JSON, on the first so many processors."""
    pinned = ["taskset", "-c", f"0-{processors - 1}"] if processors else []
    command = [*pinned, *map(str, command)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def ours(file, prompt, generate, threads, depth=0, processors=None):
    """{'prompt': (tokens per second, share of the limit, share of the vectors' limit), 'generate': likewise}"""
    found = run(INGOT, "bench", file, "--prompt", prompt, "--generate", generate, "--threads", threads,
                "--depth", depth, "--repetitions", 1, "--json", processors=processors)
    return {row["test"]: (row["tokens_per_second"]["median"], row.get("share_of_limit"),
                          row.get("share_of_vector_limit", row.get("share_of_limit"))) for row in found["results"]}


def theirs(file, prompt, generate, threads, depth=0, processors=None):
    found = run(sys.executable, Path(__file__).with_name("llama_speed.py"), file, "--prompt", prompt,
                "--generate", generate, "--threads", threads, "--depth", depth, processors=processors)
    return {"prompt": found.get("prompt_tokens_per_second"), "generate": found.get("generate_tokens_per_second")}


def compare(label, file, rounds, prompt=512, generate=48, **how):
    """Alternating runs -> for prompt and generation the medians, their spread, the median of the ratios, the share."""
    pairs = []
    for _ in range(rounds):
        pairs.append((ours(file, prompt, generate, **how), theirs(file, prompt, generate, **how)))
        print(label, pairs[-1], file=sys.stderr, flush=True)
    row = {"label": label, "megabytes": Path(file).stat().st_size / 1e6, "pairs": len(pairs)}
    for part in ("prompt", "generate"):
        a, b = [pair[0][part][0] for pair in pairs], [pair[1][part] for pair in pairs]
        share, of_vectors = (statistics.median(pair[0][part][i] for pair in pairs) if pairs[0][0][part][i] else None
                             for i in (1, 2))
        row[part] = {"ours": [statistics.median(a), min(a), max(a)], "theirs": [statistics.median(b), min(b), max(b)],
                     "ratio": statistics.median(x / y for x, y in zip(a, b)),
                     "share": share, "of_vectors": of_vectors}
    return row


def synthetic(folder, shape, kind):
    file = Path(folder) / f"{shape}-{kind}.gguf"
    subprocess.run([INGOT, "bench", "--shape", shape, "--type", kind, "--keep", file, "--force", "--prompt", "8",
                    "--generate", "1", "--repetitions", "1"], check=True, capture_output=True)
    return file


def layouts(options, folder):
    for kind in options.types or LAYOUTS:
        file = synthetic(folder, "llama-1.1b", kind)
        yield compare(kind, file, options.rounds, threads=options.threads)
        file.unlink()


def large(options, folder):
    for kind in options.types or ["Q4_0", "Q4_K_M", "Q8_0"]:
        file = synthetic(folder, "llama3-8b", kind)
        yield compare(kind, file, max(1, options.rounds // 2), generate=16, threads=options.threads)
        file.unlink()


def small(options, folder):
    for kind in options.types or ["F16", "Q8_0", "Q4_0"]:
        file = Path(folder) / f"tolstoy-5m-{kind}.gguf"
        subprocess.run([INGOT, "convert", report.ROOT / "tests" / "data" / "tolstoy-5m", "-t", kind, "-o", file,
                        "--force"], check=True, capture_output=True)
        for threads in sorted({1, options.threads}):
            # 256 tokens: the model's context
            yield compare(f"{kind}, {threads} thread{'s' * (threads > 1)}", file, options.rounds, prompt=192,
                          generate=192, threads=threads)


def threads(options, folder):
    file = synthetic(folder, "llama-1.1b", "Q4_0")
    for count, processors in ((1, None), (2, None), (2, 1), (4, 2)):
        label = f"{count} on {processors or count} processor{'s' * ((processors or count) > 1)}"
        yield compare(label, file, options.rounds, generate=16, threads=count, processors=processors)


def context(options, folder):
    file = synthetic(folder, "llama3-3b", "Q4_K_M")
    for depth in (0, 2048, 4096, 8192 - 512):
        yield compare(str(depth), file, max(1, options.rounds // 2), generate=16, threads=options.threads, depth=depth)


PARTS = {
    "layouts": (layouts, "Llama shape, 1.1 B random weights, every layout", "type"),
    "large": (large, "Llama shape, 8 B random weights", "type"),
    "small": (small, "The shipped model, 5 M weights", "type"),
    "threads": (threads, "1.1 B, Q4_0: threads and processors", "threads"),
    "context": (context, "Llama shape, 3 B random weights, Q4_K_M: as the context grows", "tokens before"),
}


def write(raw):
    sections = []
    for name, (_, title, first) in PARTS.items():
        if name not in raw:
            continue
        part = raw[name]
        sections.append(f"## {title}\n")
        pairs = sorted({row["pairs"] for row in part["rows"]})
        n_pairs = " to ".join(map(str, [pairs[0], pairs[-1]] if len(pairs) > 1 else pairs))
        sections.append(f"{part['threads']} threads unless it says otherwise, {n_pairs} pair{'s' * (pairs[-1] > 1)} of runs "
                        f"a row, {part['date']}, commit {part['commit']}.\n")
        for test, what in (("generate", "Decode"), ("prompt", "Prefill")):
            spread = lambda values: f"{values[0]:.1f} ({values[1]:.1f}–{values[2]:.1f})"
            percent = lambda share: f"{100 * share:.0f} %" if share else "–"
            of_vectors = lambda cell: cell.get("of_vectors", cell["share"])
            has_matrix = any(of_vectors(row[test]) != row[test]["share"] for row in part["rows"])
            rows = []
            for row in part["rows"]:
                cell = row[test]
                share = of_vectors(cell)
                rows.append([row["label"], f"{row['megabytes']:.0f}", spread(cell["ours"]), spread(cell["theirs"]),
                             f"{cell['ratio']:.2f}", percent(share), percent(share / cell["ratio"] if share else None),
                             *([percent(cell["share"])] if has_matrix else [])])
            header = [first, "MB", "ingot, tok/s", "llama.cpp, tok/s", "ratio", "of limit", "llama.cpp, of limit",
                      *(["of matrix limit"] if has_matrix else [])]
            sections += [f"### {what}\n", report.table(header, rows)]
        if name == "context":
            (report.RESULTS / "cpu-context.svg").write_text(chart(part["rows"]))
            sections.append("![Cost of a token as the context grows](cpu-context.svg)\n")
    report.write(
        "cpu.md", report.heading("The CPU beside llama.cpp and the machine's limits"),
        "Medians (least–most) of alternating runs; the ratio is the median of the pairs' ratios, ours over llama.cpp's: "
        "above 1 is faster. *Of limit*: the time that the machine needs at least, by loops that do nothing else and run just "
        "before and after, as a share of the time taken: for decode reading the weights, for prefill the multiplications "
        "by vectors (8-bit ones of quantized weights, float ones of others); *of matrix limit*: by the matrix registers of "
        "AMX, in BF16, which prompts of 96 tokens and more use. Peer: llama-cpp-python as pinned in tests/interop, built for the "
        "native processor, its repacked kernels on, and those for AMX where there is AMX.\n", *sections, Path(__file__).with_name("cpu_tried.md").read_text())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count()))
    parser.add_argument("--types", type=lambda text: text.split(","))
    parser.add_argument("--folder", help="where the files go (default: a temporary folder)")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")

    raw = json.loads(RAW.read_text()) if RAW.exists() else {}
    for name in options.parts or PARTS:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            # With --types the other rows stay.
            rows = raw[name]["rows"] if options.types and name in raw else []
            for row in PARTS[name][0](options, folder):  # each is kept at once: a run that is cut short leaves what it has
                place = next((i for i, old in enumerate(rows) if old["label"] == row["label"]), len(rows))
                rows[place:place + 1] = [row]
                raw[name] = {"rows": rows, "threads": options.threads, "commit": report.commit(),
                             "date": report.today()}
                RAW.write_text(json.dumps(raw, indent=1) + "\n")
                write(raw)


if __name__ == "__main__":
    main()
