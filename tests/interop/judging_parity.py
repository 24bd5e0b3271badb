"""What judges a file, beside NumPy on llama.cpp's logits (llama-cpp-python, pinned) and on gguf's decoded weights.

  1. `ingot perplexity --kl-divergence`: mean, median, 99th percentile and maximum of the divergence over all tokens,
     top-1 agreement and perplexity ratio; with all tokens kept, and how much less a reference of fewer tokens shows.
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
# Of a statistic, against the same from llama.cpp's logits. Both programs round activations to 8 bits where weights are
# quantized, each in its own way; F16 weights are compared without that.
TOLERANCE = {"F16": 2e-2, "Q8_0": 0.2, "Q4_K_M": 5e-2}
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


def compare_divergence(ingot, folder, check):
    text = folder / "text.txt"
    text.write_text(TEXT * 40)
    expected = predictions(folder / "F32.gguf", TEXT * 40)
    for top_k in [2048, 256, 64, 16]:
        ingot.run("perplexity", folder / "F32.gguf", "-f", text, "--context", CONTEXT, "--save-reference",
                  folder / f"{top_k}.gguf", "--top-k", top_k)
    for kind, tolerance in TOLERANCE.items():
        ours = ingot.json("perplexity", folder / f"{kind}.gguf", "--kl-divergence", folder / "2048.gguf")
        theirs = statistics(expected, predictions(folder / f"{kind}.gguf", TEXT * 40))
        found = {**ours["kl_divergence"], "top_1_agreement": ours["top_1_agreement"]["value"],
                 "perplexity_ratio": ours["perplexity_ratio"]["value"]}
        for name, value in theirs.items():
            close = abs(found[name] - value) <= (0.01 if name == "top_1_agreement" else tolerance * abs(value))
            if name == "perplexity_ratio":
                close = abs(found[name] - value) <= 2e-3
            check(f"{kind}: {name} {found[name]:.6g}, by llama.cpp's logits {value:.6g}", close)
        for top_k in [256, 64, 16]:
            fewer = ingot.json("perplexity", folder / f"{kind}.gguf", "--kl-divergence", folder / f"{top_k}.gguf")
            share = fewer["kl_divergence"]["mean"] / ours["kl_divergence"]["mean"]
            check(f"{kind}: a reference of {top_k} tokens shows {100 * share:.2f} % of the divergence", 0.5 < share <= 1.0001)


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
        for kind in ["F32", *TOLERANCE]:
            ingot.run("convert", CHECKPOINT, "-t", kind, "-o", folder / f"{kind}.gguf")
        compare_divergence(ingot, folder, check)
        compare_measures(ingot, folder, check)
        compare_importance(ingot, folder, check)
    check.finish()


if __name__ == "__main__":
    main()
