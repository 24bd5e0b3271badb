"""`--method gptq` beside the paper's algebra in numpy: the first layer's queries as Q4_0. Their inputs (embeddings behind a
norm) are computed here, with their second moments, damping, order and factor, in float64; the rounding with error feedback
and the refinement then follow the definitions, row by row. Only the first scales come from Ingot's fit, which is given the
columns' costs as an importance matrix. The values must be those of the program's file in nearly every row, and their error
far below what rounding each for itself leaves.

    feedback_parity.py [--ingot build/ingot] [--text FILE]
"""
import argparse
import tempfile
from pathlib import Path

import gguf
import numpy as np

from checks import CHECKPOINT, ROOT, Checks, Ingot

CONTEXT = 256  # the model's own
CHUNKS = 32
TENSOR = "blk.0.attn_q.weight"
DAMPING = 0.01
SWEEPS = 4
BLOCK = 32


def tensors_of(path):
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def inputs_of(model, tokens):
    """What the first layer's queries are multiplied by: (n_tokens, n_embd)."""
    tensors = tensors_of(model)
    chunks = np.split(tokens, len(tokens) // CONTEXT)
    for chunk in chunks:
        chunk[0] = 1  # BOS begins each
    rows = tensors["token_embd.weight"].data[np.concatenate(chunks)].astype(np.float64)
    scale = np.sqrt((rows * rows).mean(axis=1, keepdims=True) + 1e-5)
    return rows / scale * tensors["blk.0.attn_norm.weight"].data


class Curvature:
    def __init__(self, x):
        moments = x.T @ x
        self.moments = moments / moments.diagonal().mean() + DAMPING * np.eye(len(moments))
        self.order = np.argsort(-self.moments.diagonal(), kind="stable")
        inverse = np.linalg.inv(self.moments[np.ix_(self.order, self.order)])
        self.factor = np.linalg.cholesky(inverse).T  # upper, with inverse = factor.T @ factor
        self.costs = np.empty(len(moments))
        self.costs[self.order] = self.factor.diagonal() ** -2.0

    def error(self, difference):
        return float(((difference @ self.moments) * difference).sum())


def blocks_of(path):
    """Scales (n_rows, n_blocks) and levels -8 … 7 (n_rows, n_columns) of a Q4_0 tensor."""
    data = tensors_of(path)[TENSOR].data
    blocks = data.reshape(len(data), -1, 2 + BLOCK // 2)
    scales = np.ascontiguousarray(blocks[..., :2]).view(np.float16)[..., 0].astype(np.float64)
    levels = np.concatenate([blocks[..., 2:] & 15, blocks[..., 2:] >> 4], axis=-1).astype(np.float64) - 8
    return scales, levels.reshape(len(data), -1)


def nearest(values, scales):
    return np.clip(np.rint(np.divide(values, scales, out=np.zeros_like(values), where=scales != 0)), -8, 7)


def round_with_feedback(weights, scales, curvature):
    left, levels = weights[:, curvature.order].copy(), np.empty_like(weights)
    for i, column in enumerate(curvature.order):
        scale = scales[:, column // BLOCK]
        levels[:, column] = nearest(left[:, i], scale)
        error = (left[:, i] - scale * levels[:, column]) / curvature.factor[i, i]
        left[:, i + 1:] -= np.outer(error, curvature.factor[i, i + 1:])
    return levels


def refine(weights, scales, levels, curvature):
    """Coordinate descent over levels and scales; only what lowers a row's error is done."""
    h = curvature.moments
    pull = (weights - np.repeat(scales, BLOCK, axis=1) * levels) @ h

    def gains(step, slope, bend):
        return (step != 0) & (step * (step * bend - 2 * slope) < 0)

    for _ in range(SWEEPS):
        for block in range(scales.shape[1]):
            columns = slice(block * BLOCK, (block + 1) * BLOCK)
            scale = scales[:, block]
            for i in range(columns.start, columns.stop):
                wanted = nearest(scale * levels[:, i] + pull[:, i] / h[i, i], scale)
                step = scale * (wanted - levels[:, i])
                does = gains(step, pull[:, i], h[i, i])
                levels[does, i] = wanted[does]
                pull -= np.outer(np.where(does, step, 0), h[i])
            direction = levels[:, columns]
            slope = (direction * pull[:, columns]).sum(axis=1)
            bend = ((direction @ h[columns, columns]) * direction).sum(axis=1)
            best = (scale + np.divide(slope, bend, out=np.zeros_like(slope), where=bend > 0)).astype(np.float16)
            step = best.astype(np.float64) - scale
            step[~gains(step, slope, bend)] = 0
            scales[:, block] += step
            pull -= (step[:, None] * direction) @ h[columns]
    return scales, levels


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ingot", default="build/ingot", help="the program (default: build/ingot)")
    parser.add_argument("--text", default=ROOT / "README.md", help="the text (default: README.md)")
    options = parser.parse_args()
    ingot, check = Ingot(options.ingot), Checks()
    with tempfile.TemporaryDirectory(prefix="ingot-feedback-") as name:
        folder = Path(name)
        model, importance, started, result = (folder / f"{part}.gguf" for part in ("F32", "costs", "started", "result"))
        ingot.run("convert", CHECKPOINT, "-t", "F32", "-o", model)
        tokens = np.array(ingot.json("tokenize", model, "-f", options.text)["ids"][:CHUNKS * CONTEXT])
        weights = tensors_of(model)[TENSOR].data.astype(np.float64)
        curvature = Curvature(inputs_of(model, tokens))

        calibration = ["--calibration", options.text, "--calibration-chunks", CHUNKS, "--calibration-context", CONTEXT]
        ingot.run("quantize", model, "-t", "Q4_0", "--pure", "--method", "gptq", *calibration, "-o", result)
        found_scales, found_levels = blocks_of(result)
        found = np.repeat(found_scales, BLOCK, axis=1) * found_levels

        ingot.run("imatrix", model, "-f", options.text, "--chunks", 1, "-o", importance)
        matrix = gguf.GGUFReader(importance, "r+")
        next(t for t in matrix.tensors if t.name == f"{TENSOR}.in_sum2").data[...] = curvature.costs
        matrix.data.flush()
        ingot.run("quantize", model, "-t", "Q4_0", "--pure", "--imatrix", importance, "-o", started)
        scales, fitted = blocks_of(started)

    alone = np.repeat(scales, BLOCK, axis=1) * fitted
    levels = round_with_feedback(weights, scales, curvature)
    fed = np.repeat(scales, BLOCK, axis=1) * levels
    scales, levels = refine(weights, scales.copy(), levels, curvature)
    refined = np.repeat(scales, BLOCK, axis=1) * levels

    errors = [curvature.error(weights - values) for values in (alone, fed, refined, found)]
    print(f"errors: fit {errors[0]:.4f}, fed {errors[1]:.4f}, refined {errors[2]:.4f}, in the file {errors[3]:.4f}")
    same = (refined == found).all(axis=1).mean()
    check(f"{100 * same:.1f} % of {len(weights)} rows are the same, value by value", same > 0.9)
    check(f"their error differs by {abs(errors[3] / errors[2] - 1):.1e}", abs(errors[3] / errors[2] - 1) < 1e-3)
    check("feeding errors lowers it, refinement lowers it more", errors[2] < 0.97 * errors[1] < 0.7 * errors[0])
    check.finish()


if __name__ == "__main__":
    main()
