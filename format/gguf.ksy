# The container of SPEC.md, section 1, for Kaitai Struct (https://kaitai.io): kaitai-struct-compiler makes readers in
# a dozen languages of it. Tensor data is not read: it begins at the first multiple of the alignment that is not before
# the end of what is read here (general.alignment; 32 where there is no such key).
# tests/interop/kaitai.py compares the compiled reader with Ingot's. It has been run with the compiler of June 2017 (0.8), which
# knows all that is used here but `valid`, of 0.9: those two limits were left out for it.
meta:
  id: gguf
  title: GGUF model file
  file-extension: gguf
  license: MIT
  endian: le
  ks-version: 0.9
seq:
  - id: magic
    contents: GGUF
  - id: version
    type: u4
    valid:
      any-of: [2, 3]
  - id: n_tensors
    type: u8
  - id: n_keys
    type: u8
  - id: metadata
    type: key_value
    repeat: expr
    repeat-expr: n_keys
  - id: tensors
    type: tensor
    repeat: expr
    repeat-expr: n_tensors
types:
  text:
    doc: A length, then as many bytes; UTF-8 in names, any bytes in values.
    seq:
      - id: n_bytes
        type: u8
      - id: bytes
        size: n_bytes
  key_value:
    seq:
      - id: key
        type: text
      - id: type
        type: u4
        enum: value_type
      - id: value
        type:
          switch-on: type
          cases:
            'value_type::uint8': u1
            'value_type::int8': s1
            'value_type::uint16': u2
            'value_type::int16': s2
            'value_type::uint32': u4
            'value_type::int32': s4
            'value_type::float32': f4
            'value_type::bool': u1
            'value_type::string': text
            'value_type::array': array
            'value_type::uint64': u8
            'value_type::int64': s8
            'value_type::float64': f8
  array:
    doc: Elements have no type of their own; arrays in arrays have one each.
    seq:
      - id: type
        type: u4
        enum: value_type
      - id: n_elements
        type: u8
      - id: elements
        repeat: expr
        repeat-expr: n_elements
        type:
          switch-on: type
          cases:
            'value_type::uint8': u1
            'value_type::int8': s1
            'value_type::uint16': u2
            'value_type::int16': s2
            'value_type::uint32': u4
            'value_type::int32': s4
            'value_type::float32': f4
            'value_type::bool': u1
            'value_type::string': text
            'value_type::array': array
            'value_type::uint64': u8
            'value_type::int64': s8
            'value_type::float64': f8
  tensor:
    seq:
      - id: name
        type: text
      - id: n_dimensions
        type: u4
        valid:
          max: 4
      - id: dimensions
        doc: The first is contiguous in memory.
        type: u8
        repeat: expr
        repeat-expr: n_dimensions
      - id: type
        type: u4
        enum: tensor_type
      - id: offset
        doc: Bytes from the start of the data.
        type: u8
enums:
  value_type:
    0: uint8
    1: int8
    2: uint16
    3: int16
    4: uint32
    5: int32
    6: float32
    7: bool
    8: string
    9: array
    10: uint64
    11: int64
    12: float64
  tensor_type:
    0: f32
    1: f16
    2: q4_0
    3: q4_1
    6: q5_0
    7: q5_1
    8: q8_0
    9: q8_1
    10: q2_k
    11: q3_k
    12: q4_k
    13: q5_k
    14: q6_k
    15: q8_k
    16: iq2_xxs
    17: iq2_xs
    18: iq3_xxs
    19: iq1_s
    20: iq4_nl
    21: iq3_s
    22: iq2_s
    23: iq4_xs
    24: i8
    25: i16
    26: i32
    27: i64
    28: f64
    29: iq1_m
    30: bf16
    34: tq1_0
    35: tq2_0
    39: mxfp4
    40: nvfp4
    41: q1_0
    42: q2_0
