"""`ingot imatrix` beside transformers: hooks on every linear layer add up the squares of its inputs, in float32, over the
same chunks of the same text; the largest relative difference of a column may be 2e-3 (keys and values are kept in half
precision by ingot), and that of a tensor 1e-3.

    imatrix_parity.py [--ingot build/ingot] [--text FILE]
"""
import argparse
import os
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import gguf  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

from checks import CHECKPOINT, ROOT, Checks, Ingot  # noqa: E402

CONTEXT = 256  # the model's own
CHUNKS = 8
PARTS = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down"}


def name_in_gguf(module):
    if module == "lm_head":  # the model's output is its embedding
        return "token_embd.weight"
    _, _, layer, part = module.split(".", 3)
    return f"blk.{layer}.{PARTS[part]}.weight"


def sums_in_transformers(tokens):
    sums = {}

    def add(name):
        def hook(_module, inputs):
            x = inputs[0].detach().double().reshape(-1, inputs[0].shape[-1])
            sums[name] = sums.get(name, 0) + (x * x).sum(0).numpy()
        return hook

    model = transformers.AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(add(name_in_gguf(name)))
    with torch.no_grad():
        for chunk in np.split(tokens, CHUNKS):
            chunk[0] = 1  # BOS begins each
            model(torch.tensor(chunk)[None])
    return sums


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ingot", default="build/ingot", help="the program (default: build/ingot)")
    parser.add_argument("--text", default=ROOT / "README.md", help="the text (default: README.md)")
    options = parser.parse_args()
    ingot, check = Ingot(options.ingot), Checks()
    with tempfile.TemporaryDirectory(prefix="ingot-imatrix-") as name:
        model, matrix = Path(name) / "F32.gguf", Path(name) / "imatrix.gguf"
        ingot.run("convert", CHECKPOINT, "-t", "F32", "-o", model)
        ingot.run("imatrix", model, "-f", options.text, "--chunks", CHUNKS, "--context", CONTEXT, "-o", matrix)
        tokens = np.array(ingot.json("tokenize", model, "-f", options.text)["ids"][:CHUNKS * CONTEXT])
        expected = sums_in_transformers(tokens)
        found = {tensor.name: tensor.data.reshape(-1).astype(np.float64) for tensor in gguf.GGUFReader(matrix).tensors}

    check(f"{len(expected)} tensors, no more and no fewer", len(found) == 2 * len(expected))
    check(f"{CHUNKS * CONTEXT} tokens came to each",
          all(found[f"{tensor}.counts"].tolist() == [CHUNKS * CONTEXT] for tensor in expected))
    columns = {tensor: np.abs(found[f"{tensor}.in_sum2"] / sums - 1).max() for tensor, sums in expected.items()}
    whole = {tensor: np.linalg.norm(found[f"{tensor}.in_sum2"] - sums) / np.linalg.norm(sums)
             for tensor, sums in expected.items()}
    check(f"largest relative difference of a column {max(columns.values()):.1e}", max(columns.values()) < 2e-3)
    check(f"largest relative difference of a tensor {max(whole.values()):.1e}", max(whole.values()) < 1e-3)
    check.finish()


if __name__ == "__main__":
    main()
