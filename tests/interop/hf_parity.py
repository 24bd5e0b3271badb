"""Every family beside transformers: the logits of 48 tokens from a tiny model with every special feature switched on.

For each row of tiny_models.py: transformers saves the model, `ingot convert` writes it as F32, and the logits of that
file, here and in llama.cpp, are compared with transformers' own in float32. The measure is the largest difference over
the standard deviation of transformers' logits; up to 1e-3 passes. The table goes to bench/results/families.md.

    hf_parity.py [--ingot build/ingot] [--only FAMILY …] [--folder DIR] [--no-write]
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import tiny_models  # first: it keeps transformers off the network
import llama
import numpy as np
import torch
import transformers

from checks import CHECKPOINT, ROOT, Checks
from mixed_text import MixedText

sys.path.insert(0, str(ROOT / "bench"))
import report  # noqa: E402

TOLERANCE = 1e-3
CONTEXT = 64  # tokens: what llama.cpp is asked for; it rounds up to 256

# What llama.cpp (the version that the requirements pin) does otherwise than transformers. Each was found by looking at
# its source, and goes away when the feature is switched off. The parity of these rows is not asked of it.
LLAMA_DIFFERS = {
    "gptj": "the architecture has a name there, but does not run",
    "gptoss": "the ends of YaRN's ramp are rounded, which this checkpoint does not ask for (`truncate: false`)",
    "deepseek2-groups": "groups of experts are ranked by their two best, as DeepSeek-V3's",
    "llama4-chunks": "chunks and their tempering are fixed at 8192 tokens",
    "mistral-window": "the architecture `llama` has no sliding window",
    "phi3-window": "the sliding window of `phi3` is switched off",
    "starcoder2-window": "the architecture `starcoder2` has no sliding window",
    "gemma2-scale": "the scale of attention is derived from the head's size",
    "gemma3-scale": "the scale of attention is derived from the head's size",
}


# GELU by a table of half-precision values, and the approximation by tanh where the checkpoint has the exact one. With
# the same table in transformers' place, what is left of the difference is a quarter.
GELU = "GELU is a table in half precision"
GELU_FAMILIES = ["gemma", "gemma2", "gemma3", "gemma4", "gemma4-moe", "gemma3-vision",
                 "gemma4-vision", "gpt2", "phi2", "starcoder2", "bloom"]
ERF_FAMILIES = ["gptneox", "gptneox-sequential", "falcon", "falcon-40b", "mpt"]
GELU_TOLERANCE = 2e-2


class Failure(Exception):
    """Why a cell of the table is not a number."""


def run(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode != 0:
        raise Failure(done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}")
    return done.stdout


def in_transformers(model, tokens):
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0].to(torch.float32).numpy()


def in_llama(file, tokens):
    """Logits (n_tokens, n_vocabulary). In a process of its own, because llama.cpp may abort."""
    with tempfile.TemporaryDirectory() as name:
        logits, message = Path(name) / "logits.npy", Path(name) / "message"
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            try:
                # One thread, and a cache in F32, as `ingot perplexity --logits` keeps it.
                with llama.Llama(file, CONTEXT, threads=1, exact=True) as model:
                    np.save(logits, model.logits(tokens, all_positions=True))
            except llama.Refusal as refusal:
                message.write_text(str(refusal))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if message.exists():
            raise Failure(message.read_text())
        if not logits.exists():
            raise Failure(f"it aborts (status {status})")
        return np.load(logits)


def in_ingot(program, file, tokens, folder):
    ids, out = folder / "ids.txt", folder / "logits.npy"
    ids.write_text(" ".join(map(str, tokens)))
    out.unlink(missing_ok=True)
    run(program, "perplexity", file, "--token-ids", ids, "--context", len(tokens), "--logits", out)
    return np.load(out).reshape(len(tokens), -1)


def exported(program, file, folder, tokens):
    """Logits after the way back: GGUF -> checkpoint -> transformers. A model with several towers comes back as its text
    model, whose class config.json names."""
    target = folder / "exported"
    shutil.rmtree(target, ignore_errors=True)
    run(program, "export", file, target)
    name = json.loads((target / "config.json").read_text())["architectures"][0]
    again = getattr(transformers, name).from_pretrained(target, dtype=torch.float32, attn_implementation="eager").eval()
    return in_transformers(again, tokens)


def difference(logits, reference):
    if logits.shape != reference.shape:
        raise Failure(f"logits of shape {logits.shape}, expected {reference.shape}")
    if not np.isfinite(logits).all():
        raise Failure("logits that are not finite")
    return float(np.abs(logits - reference).max() / reference.std())


class Notes:
    """What stands below the table, numbered in the order of its first mention."""

    def __init__(self):
        self.texts = []

    def mark(self, text):
        if text not in self.texts:
            self.texts.append(text)
        return f" [{self.texts.index(text) + 1}]"

    def lines(self):
        return "".join(f"{i}. {text}\n" for i, text in enumerate(self.texts, 1))


def cell(measure, check, what, notes, excused=None, tolerance=TOLERANCE, why_tolerance=""):
    """One comparison as the table shows it. `excused` says why it need not hold, `why_tolerance` why that is another."""
    try:
        value = measure()
    except Failure as failure:
        message = str(failure).splitlines()[0]
        if excused is None:
            check(what, False, str(failure))
        else:
            print(f"no      {what}: {message}")
        return "no" + notes.mark(excused or message)
    if excused is not None and value > TOLERANCE:
        print(f"differs {what}: {value:.1e} ({excused})")
        return f"{value:.1e}" + notes.mark(excused)
    check(f"{what}: {value:.1e}, at most {tolerance:.1e}", value <= tolerance)
    if value > tolerance:
        return f"{value:.1e} (!)"
    return f"{value:.1e}" + (notes.mark(why_tolerance) if value > TOLERANCE else "")


def compare(family, options, folder, check, notes):
    checkpoint, file = folder / family, folder / f"{family}.gguf"
    tokens = tiny_models.token_ids()
    model = tiny_models.make(family, checkpoint)
    reference = in_transformers(model, tokens)
    row = [family, tiny_models.FAMILIES[family][0]]
    try:
        run(options.ingot, "convert", checkpoint, "-t", "F32", "-o", file, "--force")
    except Failure as failure:
        check(f"{family}: convert", False, str(failure))
        return [*row, "no" + notes.mark(str(failure).splitlines()[0]), "", "", ""]
    row.append("yes")
    row.append(cell(lambda: difference(in_ingot(options.ingot, file, tokens, folder), reference), check,
                    f"{family}: here", notes))
    gelu = family in GELU_FAMILIES + ERF_FAMILIES
    row.append(cell(lambda: difference(in_llama(file, tokens), reference), check, f"{family}: llama.cpp",
                    notes, LLAMA_DIFFERS.get(family), GELU_TOLERANCE if gelu else TOLERANCE,
                    GELU + (", and by tanh" if family in ERF_FAMILIES else "")))
    row.append(cell(lambda: difference(exported(options.ingot, file, folder, tokens), reference), check,
                    f"{family}: export", notes))
    return row


def there_and_back(program, folder, check):
    """The shipped model, whole: checkpoint -> GGUF -> checkpoint, as transformers finds it by itself."""
    file, back = folder / "shipped.gguf", folder / "shipped"
    run(program, "convert", CHECKPOINT, "-t", "BF16", "-o", file, "--force")
    run(program, "export", file, back)
    text = MixedText(seed=7)
    lines = [text.line() for _ in range(2000)]
    before, after = (transformers.AutoTokenizer.from_pretrained(path)(lines)["input_ids"] for path in (CHECKPOINT, back))
    differing = [line for line, a, b in zip(lines, before, after) if a != b]
    check(f"shipped model: its exported tokenizer in transformers, {len(lines)} lines", not differing, *map(repr, differing[:3]))
    models = [transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32) for path in (CHECKPOINT, back)]
    tokens = before[0][:64]
    check("shipped model: exported logits in transformers",
          np.array_equal(*(in_transformers(model, tokens) for model in models)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ingot", default="build/ingot", help="the program (default: build/ingot)")
    parser.add_argument("--only", nargs="+", choices=list(tiny_models.FAMILIES), metavar="FAMILY")
    parser.add_argument("--folder", type=Path, help="keep the models and files there")
    parser.add_argument("--no-write", action="store_true", help="leave bench/results/families.md as it is")
    options = parser.parse_args()
    options.ingot = str(Path(options.ingot).resolve())
    torch.set_num_threads(1)
    llama.start()
    check, notes = Checks(), Notes()
    rows = []
    with tempfile.TemporaryDirectory(prefix="ingot-families-") as name:
        folder = options.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        for family in options.only or tiny_models.FAMILIES:
            rows.append(compare(family, options, folder, check, notes))
        there_and_back(options.ingot, folder, check)
    if not options.only and not options.no_write:
        report.write("families.md", report.heading("Families beside transformers"),
                     f"Tiny models with random weights (tests/interop/tiny_models.py), by transformers "
                     f"{transformers.__version__} in float32, converted to F32: the largest difference of the logits of "
                     f"{tiny_models.N_TOKENS} tokens, over their standard deviation; up to {TOLERANCE:g} passes.\n"
                     f"llama.cpp: the version inside llama-cpp-python {llama.llama_cpp.__version__}, with a cache in F32.\n",
                     report.table(["family", "model_type", "convert", "run here", "run in llama.cpp", "export back"],
                                  rows),
                     "What llama.cpp does otherwise than transformers:\n", notes.lines())
    check.finish()


if __name__ == "__main__":
    main()
