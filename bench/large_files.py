"""GGUF files for bench/inspector.py: large, or with weights of a sensible distribution; without any other library."""
import struct

STRING, ARRAY, U32 = 8, 9, 4
F16, Q8_0, Q4_K, BF16 = 1, 8, 12, 30
# Elements and bytes of a block; where its halves stand.
BLOCKS = {F16: (1, 2, ()), BF16: (1, 2, ()), Q8_0: (32, 34, (0,)), Q4_K: (256, 144, (0, 2))}


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def key(name, kind, value):
    return text(name) + struct.pack("<I", kind) + (text(value) if kind == STRING else struct.pack("<I", value))


def header_of(keys, tensors):
    """The header, padded to the data. `tensors`: name, columns, rows, type, bytes."""
    offset, infos = 0, []
    for name, columns, rows, kind, n_bytes in tensors:
        infos.append(text(name) + struct.pack("<IQQIQ", 2, columns, rows, kind, offset))
        offset += (n_bytes + 31) // 32 * 32
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + b"".join(infos)
    return header + bytes(-len(header) % 32), offset


def sparse_model(path, size_bytes, n_tensors, n_tokens):
    """Q4_0 matrices of equal size over `size_bytes`, which take no disk, and a vocabulary with scores. Returns the header's size."""
    columns = 4096
    rows = size_bytes // n_tensors // (columns // 32 * 18)
    tokens = b"".join(text(f"token{i:06}") for i in range(n_tokens))
    keys = [key("general.architecture", STRING, "llama"), key("general.alignment", U32, 32),
            key("llama.block_count", U32, n_tensors // 10), key("llama.context_length", U32, 8192),
            key("llama.embedding_length", U32, columns), key("llama.attention.head_count", U32, 32),
            key("tokenizer.ggml.model", STRING, "llama"),
            text("tokenizer.ggml.tokens") + struct.pack("<IIQ", ARRAY, STRING, n_tokens) + tokens,
            text("tokenizer.ggml.scores") + struct.pack("<IIQ", ARRAY, 6, n_tokens) + bytes(4 * n_tokens),
            text("tokenizer.ggml.token_type") + struct.pack("<IIQ", ARRAY, 5, n_tokens) + struct.pack("<i", 1) * n_tokens,
            key("tokenizer.chat_template", STRING, "{{ messages }}"), key("ingot.spare", STRING, " " * 4096)]
    n_bytes = rows * columns // 32 * 18
    header, data_bytes = header_of(keys, [(f"blk.{i // 10}.tensor{i % 10}.weight", columns, rows, 2, n_bytes) for i in range(n_tensors)])
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(len(header) + data_bytes)
    return len(header)


def dense_model(path, kind, size_bytes, n_tensors=16, checksums=None):
    """Random blocks whose scales (F16: values) are near 2^-8. One tile of them serves for all tensors, turned by another amount each."""
    import numpy as np

    elements, block_bytes, halves = BLOCKS[kind]
    columns = 4096
    row_bytes = columns // elements * block_bytes
    rows = size_bytes // n_tensors // row_bytes
    random = np.random.default_rng(1)
    tile = random.integers(0, 256, (rows * columns // elements, block_bytes), dtype=np.uint8)
    for at in halves or (0,):
        tile[:, at + 1] = 0x1c | (tile[:, at + 1] & 0x83)  # sign, and two bits of the fraction
    header, _ = header_of([key("general.architecture", STRING, "none")],
                          [(f"blk.{i}.ffn_up.weight", columns, rows, kind, tile.nbytes) for i in range(n_tensors)])
    with open(path, "wb") as file:
        file.write(header)
        for i in range(n_tensors):
            turn = len(tile) // n_tensors * i
            file.write(tile[turn:].data)
            file.write(tile[:turn].data)
            file.write(bytes(-tile.nbytes % 32))


def trained_model(path, kind, n_elements, tuned=False, n_tensors=8):
    """F16 or BF16 weights: normal, their deviation another for each row. `tuned`: the same, each moved by a thousandth of its row's
    deviation on average, one tensor in four not at all."""
    import numpy as np

    columns = 2048
    rows = n_elements // n_tensors // columns
    header, _ = header_of([key("general.architecture", STRING, "none")],
                          [(f"blk.{i}.ffn_up.weight", columns, rows, kind, 2 * rows * columns) for i in range(n_tensors)])
    with open(path, "wb") as file:
        file.write(header)
        for i in range(n_tensors):
            random = np.random.default_rng(i)
            deviation = (0.02 * np.exp(0.3 * random.standard_normal((rows, 1)))).astype(np.float32)
            weights = random.standard_normal((rows, columns), dtype=np.float32) * deviation
            if tuned and i % 4:
                weights += random.standard_normal((rows, columns), dtype=np.float32) * (deviation * np.float32(1e-3))
            if kind == F16:
                file.write(weights.astype(np.float16).tobytes())
            else:
                bits = weights.view(np.uint32)
                file.write(((bits + 0x7fff + ((bits >> 16) & 1)) >> 16).astype(np.uint16).tobytes())
