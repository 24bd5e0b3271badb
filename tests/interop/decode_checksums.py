"""The checksums of decoded random blocks that tests/format/blocks.cpp compares with, made by gguf's dequantize.

    python tests/interop/decode_checksums.py             prints them
    python tests/interop/decode_checksums.py FILE        exit code 1 unless each of them stands in FILE
"""
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

N_BLOCKS = 512
LAYOUTS = "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4 NVFP4".split()


def random_bytes(n, state):
    """The high bytes of a linear congruential generator of 32 bits."""
    out = bytearray(n)
    for i in range(n):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = state >> 24
    return out


def checksum(values):
    """FNV-1a, 64 bits, a float at a time. All NaN count as one."""
    words = np.where(np.isnan(values), np.uint32(0x7FC00000), values.view(np.uint32))
    result = 0xCBF29CE484222325
    for word in words.tolist():
        result = ((result ^ word) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return result


lines = []
for name in LAYOUTS:
    layout = GGMLQuantizationType[name]
    block_bytes = GGML_QUANT_SIZES[layout][1]
    blocks = np.frombuffer(random_bytes(N_BLOCKS * block_bytes, int(layout)), np.uint8).reshape(N_BLOCKS, block_bytes)
    with np.errstate(all="ignore"):
        values = quants.dequantize(blocks, layout).ravel()
    lines.append("{TensorType::%s, 0x%016x}" % (name, checksum(values)))

if len(sys.argv) < 2:
    print(",\n".join(lines))
else:
    text = open(sys.argv[1]).read()
    missing = [line for line in lines if line not in text]
    if missing:
        sys.exit(f"{sys.argv[1]} lacks, or has other values for:\n" + "\n".join(missing))
