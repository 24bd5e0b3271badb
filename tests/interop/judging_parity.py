"""What judges a file, beside NumPy on llama.cpp's logits (llama-cpp-python, pinned) and on gguf's decoded weights.

  1. `ingot perplexity --kl-divergence`: mean, median, 99th percentile and maximum of the divergence over all tokens,
     top-1 agreement and perplexity ratio, from ingot's own logits and from llama.cpp's; and how much less a reference
     of fewer tokens shows.
  2. `ingot measure`: root mean squared error, largest error, signal to noise, cosine of every tensor.
  3. `--imatrix`: the error weighted by the mean squares is smaller with it, in every tensor.
"""
import argparse
import tempfile
from pathlib import Path

import gguf
import numpy as np

import llama
from checks import CHECKPOINT, Checks, Ingot

CONTEXT = 256  # the model's own
# Weights rounded to these types, stored as F32: then neither program rounds activations to 8 bits, which each does in its
# own way.
KINDS = ["Q8_0", "Q4_K_M"]
# Relative, of a statistic. Keys and values are rounded to half precision, but for the logits of `--logits`.
TOLERANCE = 2e-2
TEXT = ("In the morning the prince rode out with his men, and the old count looked after him from the window for a long "
        "time. \"He will not come back,\" said the countess. \"He will, my dear; they always come back.\" ")


def statistics(reference, other):
    """Of the files' log-probabilities (n, n_vocabulary) and of the tokens that came (n)."""
    (p, tokens), (q, _) = reference, other
    divergence = (np.exp(p) * (p - q)).sum(axis=1)
    at = np.arange(len(tokens))
    return {"mean": divergence.mean(), "median": np.median(divergence), "percentile_99": np.quantile(divergence, 0.99),
            "max": divergence.max(), "top_1_agreement": (p.argmax(axis=1) == q.argmax(axis=1)).mean(),
            "perplexity_ratio": np.exp((p[at, tokens] - q[at, tokens]).mean())}


def predictions(file, text):
    with llama.Llama(file, CONTEXT) as peer:
        parts = list(peer.chunks(text, CONTEXT))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def close(name, found, expected):
    if name == "top_1_agreement":
        return abs(found - expected) <= 0.005
    if name == "perplexity_ratio":
        return abs(found - expected) <= 1e-3
    return abs(found - expected) <= TOLERANCE * abs(expected)


def reported(ingot, file, reference):
    result = ingot.json("perplexity", file, "--kl-divergence", reference)
    return {**result["kl_divergence"], "top_1_agreement": result["top_1_agreement"]["value"],
            "perplexity_ratio": result["perplexity_ratio"]["value"]}


def own_predictions(ingot, file, ids, folder):
    """Of one chunk: what `--logits` says after the tokens whose successors are scored."""
    ingot.run("perplexity", file, "--token-ids", folder / "ids.txt", "--logits", folder / "logits.npy")
    logits = np.load(folder / "logits.npy").astype(np.float64)[CONTEXT // 2:CONTEXT - 1]
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), np.array(ids[CONTEXT // 2 + 1:])


def compare_with_own_logits(ingot, folder, check):
    text = folder / "chunk.txt"
    text.write_text(TEXT * 10)
    ids = ingot.json("tokenize", folder / "F32.gguf", "-f", text)["ids"][:CONTEXT]
    (folder / "ids.txt").write_text(" ".join(map(str, ids)))
    ingot.run("perplexity", folder / "F32.gguf", "--token-ids", folder / "ids.txt", "--context", CONTEXT,
              "--save-reference", folder / "chunk.gguf", "--top-k", 2048)
    expected = own_predictions(ingot, folder / "F32.gguf", ids, folder)
    for kind in KINDS:
        found = reported(ingot, folder / f"{kind}-F32.gguf", folder / "chunk.gguf")
        values = statistics(expected, own_predictions(ingot, folder / f"{kind}-F32.gguf", ids, folder))
        for name, value in values.items():
            check(f"{kind}: {name} {found[name]:.6g}, by NumPy {value:.6g}",
                  close(name, found[name], value))


def compare_with_llama(ingot, folder, check):
    text = folder / "text.txt"
    text.write_text(TEXT * 40)
    expected = predictions(folder / "F32.gguf", TEXT * 40)
    for top_k in [2048, 256, 64]:
        ingot.run("perplexity", folder / "F32.gguf", "-f", text, "--context", CONTEXT, "--save-reference",
                  folder / f"{top_k}.gguf", "--top-k", top_k)
    for kind in KINDS:
        file = folder / f"{kind}-F32.gguf"
        found = reported(ingot, file, folder / "2048.gguf")
        for name, value in statistics(expected, predictions(file, TEXT * 40)).items():
            check(f"{kind}: {name} {found[name]:.6g}, by llama.cpp's logits {value:.6g}",
                  close(name, found[name], value))
        for top_k, least in [(256, 0.94), (64, 0.8)]:
            share = reported(ingot, file, folder / f"{top_k}.gguf")["mean"] / found["mean"]
            check(f"{kind}: a reference of {top_k} tokens shows {100 * share:.2f} % of the divergence", least < share <= 1)


def decoded(file):
    return {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(-1).astype(np.float64)
            for tensor in gguf.GGUFReader(file).tensors}


def compare_measures(ingot, folder, check):
    first = decoded(folder / "F32.gguf")
    for kind in ["F16", "Q8_0", "Q4_K_M"]:
        second = decoded(folder / f"{kind}.gguf")
        measured = ingot.json("measure", folder / "F32.gguf", folder / f"{kind}.gguf")
        worst = 0.0
        for tensor in measured["tensors"]:
            a, b = first[tensor["name"]], second[tensor["name"]]
            error = b - a
            expected = {"rmse": np.sqrt((error ** 2).mean()), "max_error": np.abs(error).max(),
                        "cosine": (a * b).sum() / np.sqrt((a ** 2).sum() * (b ** 2).sum())}
            if error.any():
                expected["signal_to_noise_db"] = 10 * np.log10((a ** 2).sum() / (error ** 2).sum())
            for name, value in expected.items():
                worst = max(worst, abs(tensor[name] - value) / max(abs(value), 1e-30) if value else abs(tensor[name]))
        check(f"{kind}: measures of {len(measured['tensors'])} tensors, largest relative difference {worst:.1e}",
              len(measured["tensors"]) == len(first) and worst < 1e-9)


def compare_importance(ingot, folder, check):
    (folder / "text.txt").write_text(TEXT * 40)
    ingot.run("imatrix", folder / "F32.gguf", "-f", folder / "text.txt", "-o", folder / "imatrix.gguf")
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(folder / "imatrix.gguf").tensors}
    names = [name.removesuffix(".in_sum2") for name in tensors if name.endswith(".in_sum2")]
    with_importance, errors = {}, {}
    for name in names:
        with_importance[name] = tensors[f"{name}.in_sum2"].reshape(-1) / tensors[f"{name}.counts"].reshape(-1)[0]
    ingot.run("quantize", folder / "F32.gguf", "-t", "Q4_0", "-o", folder / "plain.gguf")
    ingot.run("quantize", folder / "F32.gguf", "-t", "Q4_0", "--imatrix", folder / "imatrix.gguf", "-o", folder / "with.gguf")
    first = decoded(folder / "F32.gguf")
    for kind in ["plain", "with"]:
        second = decoded(folder / f"{kind}.gguf")
        errors[kind] = {name: (((second[name] - first[name]).reshape(-1, len(weights)) ** 2) * weights).sum()
                        for name, weights in with_importance.items()}
    better = sum(errors["with"][name] < errors["plain"][name] for name in names)
    check(f"the weighted error of {better} of {len(names)} tensors is smaller with importance", better == len(names))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ingot", default="build/ingot", help="the program (default: build/ingot)")
    ingot = Ingot(parser.parse_args().ingot)
    check = Checks()
    llama.start()
    with tempfile.TemporaryDirectory(prefix="ingot-judging-") as name:
        folder = Path(name)
        for kind in ["F32", "F16", *KINDS]:
            ingot.run("convert", CHECKPOINT, "-t", kind, "-o", folder / f"{kind}.gguf")
        for kind in KINDS:
            ingot.run("quantize", folder / f"{kind}.gguf", "-t", "F32", "--allow-requantize", "-o",
                      folder / f"{kind}-F32.gguf")
        compare_with_own_logits(ingot, folder, check)
        compare_with_llama(ingot, folder, check)
        compare_measures(ingot, folder, check)
        compare_importance(ingot, folder, check)
    check.finish()


if __name__ == "__main__":
    main()
