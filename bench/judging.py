"""What the measurements of quality share: files judged by llama.cpp on a text, and a text that the model writes itself."""
import argparse
import sys

import numpy as np

import report

sys.path.insert(0, str(report.ROOT / "tests" / "interop"))
import llama  # noqa: E402

CONTEXT = 256  # the shipped model's own
SAMPLE_TOKENS = 240  # of each text in a sample


class Quality:
    """What a file does with the text, in llama.cpp: `losses` (tokens), and the mean divergence from a reference."""

    def __init__(self, file, text, reference=None, keep=False):
        self.kept, losses, divergences = [], [], []
        with llama.Llama(file, CONTEXT) as peer:
            for index, (logarithms, targets) in enumerate(peer.chunks(text, CONTEXT)):
                losses.append(-logarithms[np.arange(len(targets)), targets])
                if keep:
                    self.kept.append(logarithms.astype(np.float32))
                if reference:
                    expected = reference.kept[index]
                    divergences.append((np.exp(expected) * (expected - logarithms)).sum(axis=1))
        self.losses = np.concatenate(losses)
        self.perplexity = float(np.exp(self.losses.mean()))
        self.divergence = float(np.concatenate(divergences).mean()) if reference else 0.0


def percent(ours, theirs):
    return 100 * (ours / theirs - 1)


def write_sample(ingot, model, path, n_texts):
    """Texts as the model would write them: what it knows, weighted as it weighs it."""
    path.write_bytes(b"\n".join(
        ingot.run("run", model, "-n", SAMPLE_TOKENS, "--temperature", 1, "--top-k", 0, "--top-p", 1, "--min-p", 0, "--seed", seed, "-q")
        for seed in range(1, n_texts + 1)))


def arguments(description):
    """A parser that knows what all of these scripts take: the judging text, and the program."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("text")
    parser.add_argument("--ingot", default=report.ROOT / "build" / "ingot", help="the program (default: build/ingot)")
    return parser
