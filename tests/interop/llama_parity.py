"""Ingot beside llama.cpp (llama-cpp-python, pinned): the same text, and the same perplexity, from the same file.

  1. llama.cpp loads what `ingot convert` writes, and its greedy continuation of five prompts is ingot's, 64 tokens
     long. Where the two part, the logits of both candidates are printed, from both programs; only a near tie passes.
  2. Files by gguf's writer and by llama.cpp's own quantizer run in ingot.
  3. With --text FILE: perplexity for every type, ours beside llama.cpp's quantizer, (--crossed: each file in each program),
     written to bench/results/perplexity.md.
"""
import argparse
import ctypes
import os
import sys
import tempfile
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

from checks import CHECKPOINT, ROOT, TYPES, Checks, Ingot

sys.path.insert(0, str(ROOT / "bench"))
import report  # noqa: E402  (bench/report.py: what every table of results says about itself)

CONTEXT = 256  # the model's own
N_GENERATED = 64
GREEDY_TYPES = ["F16", "Q8_0", "Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K"]
PROMPTS = ["The prince looked at her and", "It was a cold morning in", "\"What do you mean?\" said",
           "In the year 1812 the army", "Love is"]

# Both programs round activations to 8 bits, each in its own way, so logits differ in the second decimal place.
# Two candidates that are closer than this may swap.
NEAR_TIE = 0.15

# Values of general.file_type, as llama.cpp numbers them.
FILE_TYPES = {"F32": 0, "F16": 1, "BF16": 32, "Q8_0": 7, "Q4_0": 2, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10,
              "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17,
              "Q6_K": 18}


@llama_cpp.llama_log_callback
def silent(_level, _text, _user_data):
    pass


class Llama:
    """A file in llama.cpp: token ids, and logits of the last or of all positions."""

    def __init__(self, path):
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = 0
        # The plain kernels: repacked weights round differently, and the AMX ones crash on some virtual machines.
        parameters.use_extra_bufts = False
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.model:
            sys.exit(f"llama.cpp cannot load {path}")
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = CONTEXT
        parameters.n_threads = parameters.n_threads_batch = len(os.sched_getaffinity(0))
        self.context = llama_cpp.llama_init_from_model(self.model, parameters)
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocabulary = llama_cpp.llama_vocab_n_tokens(self.vocabulary)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)

    def tokenize(self, text, special):
        raw = text.encode()
        tokens = (llama_cpp.llama_token * (len(raw) + 8))()
        n = llama_cpp.llama_tokenize(self.vocabulary, raw, len(raw), tokens, len(tokens), True, special)
        assert n >= 0
        return list(tokens[:n])

    def piece(self, token):
        """The bytes that generation prints for a token."""
        buffer = ctypes.create_string_buffer(256)
        n = llama_cpp.llama_token_to_piece(self.vocabulary, token, buffer, len(buffer), 0, False)
        return buffer.raw[:n]

    def ends(self, token):
        return llama_cpp.llama_vocab_is_eog(self.vocabulary, token)

    def logits(self, tokens, position=0, all_positions=False):
        """(n, n_vocabulary) of all positions, or (n_vocabulary,) of the last. Earlier positions stay cached."""
        if position == 0:
            llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, position + i, 1, 0
            batch.logits[i] = all_positions or i + 1 == len(tokens)
        assert llama_cpp.llama_decode(self.context, batch) == 0
        llama_cpp.llama_batch_free(batch)
        n = len(tokens) if all_positions else 1
        raw = llama_cpp.llama_get_logits(self.context)
        values = np.ctypeslib.as_array(raw, shape=(n * self.n_vocabulary,)).reshape(n, -1).copy()
        return values if all_positions else values[0]

    def perplexity(self, text):
        """llama-perplexity's convention: chunks of the context, BOS first in each, the second half scored."""
        tokens = self.tokenize(text, special=False)
        first = CONTEXT // 2
        total, count = 0.0, 0
        for start in range(0, len(tokens) - CONTEXT + 1, CONTEXT):
            chunk = tokens[start:start + CONTEXT]
            chunk[0] = tokens[0]  # BOS
            logits = self.logits(chunk, all_positions=True)[first:CONTEXT - 1].astype(np.float64)
            targets = np.array(chunk[first + 1:])
            top = logits.max(axis=1)
            log_sum = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
            total += float((log_sum - logits[np.arange(len(targets)), targets]).sum())
            count += len(targets)
        return float(np.exp(total / count))


# --- Greedy continuations --------------------------------------------------------------------------------------


def ingot_log_probabilities(ingot, file, tokens, candidates, folder):
    """ln p of each candidate after `tokens`, in ingot. Perplexity scores the second half of one chunk of a fixed
    length; any length from 4 will do, so the candidate is made the last token of a chunk that is just that long."""
    result = []
    for candidate in candidates:
        ids = folder / "ids.txt"
        sequence = [*tokens, candidate]
        ids.write_text(" ".join(map(str, sequence)))
        scores = ingot.json("perplexity", file, "--token-ids", ids, "--context", len(sequence), "--per-token")["tokens"]
        last = scores[-1]
        assert last["token"] == candidate
        result.append(-last["negative_log_likelihood"])
    return result


def compare_greedy(llama, ingot, file, label, folder, check):
    for prompt in PROMPTS:
        text = ingot.run("run", file, "-p", prompt, "-n", N_GENERATED, "--temperature", "0")
        tokens = llama.tokenize(prompt, special=True)
        logits = llama.logits(tokens)
        produced = b""
        steps = []  # (tokens before, their logits, text before) of each step
        what = f"{label}: {prompt!r}"
        for step in range(N_GENERATED):
            best = int(logits.argmax())
            if llama.ends(best):
                check(f"{what}: {step} tokens and the end", text == produced, f"ours goes on: {text[len(produced):]}")
                break
            steps.append((list(tokens), logits, produced))
            produced += llama.piece(best)
            if not text.startswith(produced):
                explain_difference(llama, ingot, file, what, folder, check, text, produced, steps)
                break
            tokens.append(best)
            logits = llama.logits([best], position=len(tokens) - 1)
        else:
            check(f"{what}: the same {N_GENERATED} tokens", text == produced, f"ours:  {text!r}", f"theirs: {produced!r}")


def find_difference(llama, text, produced, steps):
    """The step where ingot chose another token, and that token. It can lie before the step where the texts part:
    `,"` begins like `,`. Such a token reaches to where they part, or beyond."""
    parted = len(os.path.commonprefix([text, produced]))
    for step in range(len(steps) - 1, max(len(steps) - 9, -1), -1):
        _, logits, before = steps[step]
        for token in np.argsort(-logits)[1:20]:
            after = before + llama.piece(int(token))
            if len(after) > parted and text.startswith(after):
                return step, int(token)
    return None


def explain_difference(llama, ingot, file, what, folder, check, text, produced, steps):
    """Both programs' view of the two candidates where they part. Passes when it is a near tie in both."""
    found = find_difference(llama, text, produced, steps)
    if found is None:
        check(f"{what}: the same until token {len(steps) - 1}", False, f"ours:   {text!r}", f"theirs: {produced!r}")
        return
    step, ours = found
    tokens, logits, _ = steps[step]
    theirs = int(logits.argmax())
    mine = ingot_log_probabilities(ingot, file, tokens, [ours, theirs], folder)
    their_gap = float(logits[theirs] - logits[ours])
    our_gap = mine[0] - mine[1]
    near = their_gap < NEAR_TIE and our_gap < NEAR_TIE
    details = (f"{llama.piece(ours)!r} leads {llama.piece(theirs)!r} by {our_gap:+.4f} in ingot (ln p {mine[0]:.4f}, "
               f"{mine[1]:.4f}); it trails by {their_gap:+.4f} in llama.cpp (logits {logits[ours]:.4f}, "
               f"{logits[theirs]:.4f})")
    check(f"{what}: the same until token {step}, then a near tie: {details}" if near
          else f"{what}: the same until token {step}", near, details)


# --- Files by others -------------------------------------------------------------------------------------------


def quantize_with_llama(source, target, file_type):
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = FILE_TYPES[file_type]
    parameters.nthread = len(os.sched_getaffinity(0))
    if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters)) != 0:
        sys.exit(f"llama.cpp cannot quantize {source} to {file_type}")


def rewrite_with_gguf(source, target):
    """The same model, every byte written by gguf's writer, and without ingot's own keys."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for key, field in reader.fields.items():
        if key.startswith(("GGUF.", "ingot.")) or key == "general.architecture":
            continue
        sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), field.types[0], sub_type=sub_type)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def compare_files_by_others(ingot, folder, check):
    source = folder / "F32.gguf"
    for file_type in ["F16", "Q8_0", "Q4_0", "Q4_K_M", "Q6_K"]:
        file = folder / "by-llama.gguf"
        quantize_with_llama(source, file, file_type)
        with Llama(file) as llama:
            compare_greedy(llama, ingot, file, f"by llama.cpp's quantizer, {file_type}", folder, check)
    for file_type in ["F16", "Q4_K_M"]:
        file = folder / "by-gguf.gguf"
        rewrite_with_gguf(folder / f"{file_type}.gguf", file)
        with Llama(file) as llama:
            compare_greedy(llama, ingot, file, f"by gguf's writer, {file_type}", folder, check)


# --- Perplexity ------------------------------------------------------------------------------------------------


def measure_perplexity(ingot, folder, text_file, crossed, check):
    text = Path(text_file).read_text()

    def in_ingot(file):
        return ingot.json("perplexity", file, "-f", text_file, "--context", CONTEXT)["perplexity"]

    def in_llama(file):
        with Llama(file) as llama:
            return llama.perplexity(text)

    rows = []
    for file_type in TYPES:
        ours, theirs = folder / f"{file_type}.gguf", folder / "theirs.gguf"
        if not ours.exists():
            ingot.run("convert", CHECKPOINT, "-t", file_type, "-o", ours)
        quantize_with_llama(folder / "F32.gguf", theirs, file_type)
        ingot_ours, llama_theirs = in_ingot(ours), in_llama(theirs)
        change = 100 * (ingot_ours / llama_theirs - 1)
        rows.append([file_type, f"{ours.stat().st_size:,}", f"{theirs.stat().st_size:,}", f"{ingot_ours:.3f}",
                     f"{llama_theirs:.3f}", f"{change:+.2f} %"])
        also = ""
        if crossed:
            llama_ours, ingot_theirs = in_llama(ours), in_ingot(theirs)
            rows[-1] += [f"{llama_ours:.3f}", f"{ingot_theirs:.3f}", f"{100 * (llama_ours / llama_theirs - 1):+.2f} %"]
            also = f"; our file in llama.cpp {llama_ours:.3f}, its file in ingot {ingot_theirs:.3f}"
        check(f"{file_type}: perplexity {ingot_ours:.3f}, llama.cpp {llama_theirs:.3f} ({change:+.2f} %{also})", change < 0.2)
        if file_type == "F32":
            check("F32: within 0.02 of llama.cpp", abs(ingot_ours - llama_theirs) < 0.02)
        write_perplexity(text_file, text, crossed, rows)


def write_perplexity(text_file, text, crossed, rows):
    header = ["type", "bytes, ours", "bytes, llama.cpp", "ours in Ingot", "llama.cpp's in llama.cpp", "difference"]
    if crossed:
        header += ["ours in llama.cpp", "llama.cpp's in Ingot", "difference in llama.cpp"]
    report.write("perplexity.md", report.heading("Perplexity of tolstoy-5m, beside llama.cpp's quantizer"),
                 f"Text: {Path(text_file).name} ({len(text.encode()):,} bytes), context {CONTEXT}, llama.cpp's convention "
                 "(BOS at the front of each chunk, second half scored).\n"
                 f"llama.cpp: the version inside llama-cpp-python {llama_cpp.__version__}. Lower is better.\n",
                 report.table(header, rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ingot", default="build/ingot", help="the program (default: build/ingot)")
    parser.add_argument("--text", default=os.environ.get("INGOT_HELDOUT"),
                        help="a text that the model never saw: measure perplexity too (default: $INGOT_HELDOUT)")
    parser.add_argument("--crossed", action="store_true", help="perplexity of each file in the other program too")
    parser.add_argument("--only-perplexity", action="store_true", help="leave out the greedy texts")
    options = parser.parse_args()
    ingot = Ingot(options.ingot)
    check = Checks()
    llama_cpp.llama_log_set(silent, None)
    llama_cpp.llama_backend_init()
    with tempfile.TemporaryDirectory(prefix="ingot-interop-") as name:
        folder = Path(name)
        for file_type in ["F32", *GREEDY_TYPES]:
            file = folder / f"{file_type}.gguf"
            ingot.run("convert", CHECKPOINT, "-t", file_type, "-o", file)
        if not options.only_perplexity:
            for file_type in GREEDY_TYPES:
                file = folder / f"{file_type}.gguf"
                with Llama(file) as llama:
                    compare_greedy(llama, ingot, file, file_type, folder, check)
            compare_files_by_others(ingot, folder, check)
        if options.text:
            measure_perplexity(ingot, folder, options.text, options.crossed, check)
    check.finish()


if __name__ == "__main__":
    main()
