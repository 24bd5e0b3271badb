"""Ingot beside llama.cpp (llama-cpp-python, pinned): the same text from the same file.

  1. llama.cpp loads what `ingot convert` writes, and its greedy continuation of five prompts is ingot's, 64 tokens
     long. Where the two part, the logits of both candidates are printed, from both programs; only a near tie passes.
  2. Files by gguf's writer and by llama.cpp's own quantizer run in ingot.
"""
import argparse
import os
import tempfile
from pathlib import Path

import gguf
import numpy as np

import llama
from checks import CHECKPOINT, Checks, Ingot
from llama import Llama, quantize_with_llama

CONTEXT = 256  # the model's own
N_GENERATED = 64
GREEDY_TYPES = ["F16", "Q8_0", "Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K"]
PROMPTS = ["The prince looked at her and", "It was a cold morning in", "\"What do you mean?\" said",
           "In the year 1812 the army", "Love is"]

# Both programs round activations to 8 bits, each in its own way, so logits differ in the second decimal place.
# Two candidates that are closer than this may swap.
NEAR_TIE = 0.15


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


def compare_greedy(peer, ingot, file, label, folder, check):
    for prompt in PROMPTS:
        text = ingot.run("run", file, "-p", prompt, "-n", N_GENERATED, "--temperature", "0")
        tokens = peer.tokenize(prompt, special=True)
        logits = peer.logits(tokens)
        produced = b""
        steps = []  # (tokens before, their logits, text before) of each step
        what = f"{label}: {prompt!r}"
        for step in range(N_GENERATED):
            best = int(logits.argmax())
            if peer.ends(best):
                check(f"{what}: {step} tokens and the end", text == produced, f"ours goes on: {text[len(produced):]}")
                break
            steps.append((list(tokens), logits, produced))
            produced += peer.piece(best)
            if not text.startswith(produced):
                explain_difference(peer, ingot, file, what, folder, check, text, produced, steps)
                break
            tokens.append(best)
            logits = peer.logits([best], position=len(tokens) - 1)
        else:
            check(f"{what}: the same {N_GENERATED} tokens", text == produced, f"ours:  {text!r}", f"theirs: {produced!r}")


def find_difference(peer, text, produced, steps):
    """The step where ingot chose another token, and that token. It can lie before the step where the texts part:
    `,"` begins like `,`. Such a token reaches to where they part, or beyond."""
    parted = len(os.path.commonprefix([text, produced]))
    for step in range(len(steps) - 1, max(len(steps) - 9, -1), -1):
        _, logits, before = steps[step]
        for token in np.argsort(-logits)[1:20]:
            after = before + peer.piece(int(token))
            if len(after) > parted and text.startswith(after):
                return step, int(token)
    return None


def explain_difference(peer, ingot, file, what, folder, check, text, produced, steps):
    """Both programs' view of the two candidates where they part. Passes when it is a near tie in both."""
    found = find_difference(peer, text, produced, steps)
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
    details = (f"{peer.piece(ours)!r} leads {peer.piece(theirs)!r} by {our_gap:+.4f} in ingot (ln p {mine[0]:.4f}, "
               f"{mine[1]:.4f}); it trails by {their_gap:+.4f} in llama.cpp (logits {logits[ours]:.4f}, "
               f"{logits[theirs]:.4f})")
    check(f"{what}: the same until token {step}, then a near tie: {details}" if near
          else f"{what}: the same until token {step}", near, details)


# --- Files by others -------------------------------------------------------------------------------------------


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
        with Llama(file, CONTEXT) as peer:
            compare_greedy(peer, ingot, file, f"by llama.cpp's quantizer, {file_type}", folder, check)
    for file_type in ["F16", "Q4_K_M"]:
        file = folder / "by-gguf.gguf"
        rewrite_with_gguf(folder / f"{file_type}.gguf", file)
        with Llama(file, CONTEXT) as peer:
            compare_greedy(peer, ingot, file, f"by gguf's writer, {file_type}", folder, check)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ingot", default="build/ingot", help="the program (default: build/ingot)")
    options = parser.parse_args()
    ingot = Ingot(options.ingot)
    check = Checks()
    llama.start()
    with tempfile.TemporaryDirectory(prefix="ingot-interop-") as name:
        folder = Path(name)
        for file_type in ["F32", *GREEDY_TYPES]:
            file = folder / f"{file_type}.gguf"
            ingot.run("convert", CHECKPOINT, "-t", file_type, "-o", file)
        for file_type in GREEDY_TYPES:
            file = folder / f"{file_type}.gguf"
            with Llama(file, CONTEXT) as peer:
                compare_greedy(peer, ingot, file, file_type, folder, check)
        compare_files_by_others(ingot, folder, check)
    check.finish()


if __name__ == "__main__":
    main()
