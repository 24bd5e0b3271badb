"""A Llama-shaped checkpoint of any size: random bf16 weights, the shipped tokenizer. Needs nothing but Python."""
import array
import dataclasses
import json
import random
import shutil
import struct
import sys

from checks import CHECKPOINT

TOKENIZER_FILES = ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json")


@dataclasses.dataclass(frozen=True)
class Shape:
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool  # the output head is the embedding

    def layer(self, prefix):
        kv_width = self.width // self.heads * self.kv_heads
        yield prefix + "input_layernorm.weight", (self.width,)
        yield prefix + "self_attn.q_proj.weight", (self.width, self.width)
        yield prefix + "self_attn.k_proj.weight", (kv_width, self.width)
        yield prefix + "self_attn.v_proj.weight", (kv_width, self.width)
        yield prefix + "self_attn.o_proj.weight", (self.width, self.width)
        yield prefix + "post_attention_layernorm.weight", (self.width,)
        yield prefix + "mlp.gate_proj.weight", (self.feed_forward, self.width)
        yield prefix + "mlp.up_proj.weight", (self.feed_forward, self.width)
        yield prefix + "mlp.down_proj.weight", (self.width, self.feed_forward)

    def tensors(self, n_layers):
        yield "model.embed_tokens.weight", (self.vocabulary, self.width)
        for layer in range(n_layers):
            yield from self.layer(f"model.layers.{layer}.")
        yield "model.norm.weight", (self.width,)
        if not self.tied:
            yield "lm_head.weight", (self.vocabulary, self.width)

    def config(self, n_layers):
        return {"hidden_size": self.width, "intermediate_size": self.feed_forward, "num_attention_heads": self.heads,
                "num_key_value_heads": self.kv_heads, "head_dim": self.width // self.heads, "num_hidden_layers": n_layers,
                "vocab_size": self.vocabulary, "tie_word_embeddings": self.tied}


def size_bytes(shape):
    return 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)


def random_weights(seed, n):
    """Bytes of n bf16 numbers: the upper halves of normally distributed floats."""
    source = random.Random(seed)
    floats = array.array("f", (source.gauss(0, 0.02) for _ in range(n)))
    halves = array.array("H", floats.tobytes())
    return halves[1 if sys.byteorder == "little" else 0::2].tobytes()


def write_safetensors(path, tensors, weights):
    header, offset = {}, 0
    for name, shape in tensors:
        end = offset + size_bytes(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for index, (_, shape) in enumerate(tensors):
            left, start = size_bytes(shape), 2 * (index * 7919 % (len(weights) // 4))
            while left:  # slices of one pool: what the weights are does not matter, only that tensors differ
                piece = memoryview(weights)[start:start + left]
                file.write(piece)
                left, start = left - len(piece), 0


def make_checkpoint(folder, shape, mib, seed=1, shard_mib=None):
    """As many layers as `mib` hold, and the rest on top; in one file, or in shards of about `shard_mib`. Returns the bytes of
    the weights."""
    layer_bytes = sum(size_bytes(tensor) for _, tensor in shape.layer(""))
    n_layers = max(1, round(mib * 2**20 / layer_bytes))
    config = json.loads((CHECKPOINT / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | shape.config(n_layers)))
    for name in TOKENIZER_FILES:
        shutil.copy(CHECKPOINT / name, folder)
    weights = random_weights(seed, 1 << 20)
    tensors = list(shape.tensors(n_layers))
    if shard_mib is None:
        write_safetensors(folder / "model.safetensors", tensors, weights)
    else:
        write_shards(folder, tensors, weights, shard_mib)
    return sum(size_bytes(tensor) for _, tensor in tensors)


def write_shards(folder, tensors, weights, shard_mib):
    shards, filled = [[]], 0
    for name, shape in tensors:
        if filled >= shard_mib * 2**20:
            shards.append([])
            filled = 0
        shards[-1].append((name, shape))
        filled += size_bytes(shape)
    holder = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_safetensors(folder / file, shard, weights)
        holder.update({name: file for name, _ in shard})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": holder}))
