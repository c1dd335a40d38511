meta:
  id: tidelog
  title: Tidelog's files, format version 1
  file-extension: seg
  license: Apache-2.0
  ks-version: "0.10"
  endian: le
doc: |
  A second reader of Tidelog's files, written from SPEC.md and not from the code: segments, superblocks and, as
  `record_batch`, single batches. It reads; it does not judge: checksums, chain and place are for the caller, and
  so is what to believe. Field names are those that `tidelog-inspect explain` uses.
doc-ref: SPEC.md
seq:
  - id: structures
    type: structure(_io.pos)
    repeat: eos
    doc: Every structure begins on a block boundary, so a file is read block by block.
types:
  structure:
    params:
      - id: start
        type: u8
    seq:
      - id: magic
        size: 'left < 8 ? left : 8'
        doc: A text-mode transfer breaks it.
      - id: prelude
        type: prelude
        if: has_magic
      - id: frame
        type: frame(start)
        if: kind == 1
      - id: end_block
        type: end_block
        if: kind == 2
      - id: footer
        type: footer(start)
        if: kind == 3
      - id: trailer
        type: trailer
        if: kind == 4
      - id: superblock
        type: superblock
        if: kind == 5
      - id: unknown
        size: 'rest_of_block'
        if: kind == 0
        doc: Zeroes, what an earlier life of the file left, damage, or another version.
    instances:
      left:
        value: _io.size - start
      has_magic:
        value: left >= 4096 and magic == [0x89, 0x54, 0x4c, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]
      kind:
        value: '(has_magic and prelude.version == 1 and prelude.header_len == 128 and prelude.kind <= 5) ? prelude.kind : 0'
      rest_of_block:
        value: '(left < 4096 ? left : 4096) - (has_magic ? 32 : (left < 8 ? left : 8))'
  prelude:
    doc: SPEC.md, section 3; frozen for all versions.
    seq:
      - id: header_crc
        type: u4
        doc: CRC-32C of bytes 12 to 128.
      - id: header_len
        type: u2
      - id: kind
        type: u1
      - id: version
        type: u1
      - id: salt
        size: 16
  frame:
    doc: SPEC.md, section 4; header, bodies, table, zero to the next block.
    params:
      - id: start
        type: u8
    seq:
      - id: lsn
        type: u8
      - id: committed_lsn
        type: u8
      - id: chain
        type: u8
      - id: append_time
        type: s8
      - id: epoch
        type: u4
      - id: block_index
        type: u4
      - id: body_len
        type: u4
      - id: entries
        type: u4
      - id: table_crc
        type: u4
      - id: zero
        size: 44
      - id: content
        size: 'left < content_len ? left : content_len'
    instances:
      left:
        value: _io.size - start - 128
      content_len:
        value: (128 + body_len + 4095) / 4096 * 4096 - 128
      table_start:
        value: start + 128 + body_len - entries * 32
      table:
        pos: table_start
        type: row(_io.pos)
        repeat: expr
        repeat-expr: entries
      bodies:
        pos: start + 128
        type: entry(_index, _io.pos)
        repeat: expr
        repeat-expr: entries
      padding:
        pos: start + 128 + body_len
        size: content_len - body_len
  row:
    params:
      - id: start
        type: u8
    seq:
      - id: partition
        type: u8
      - id: base_offset
        type: u8
      - id: length
        type: u4
      - id: count
        type: u4
      - id: kind
        type: u1
      - id: flags
        type: u1
      - id: reserved
        size: 6
  entry:
    params:
      - id: index
        type: u4
      - id: start
        type: u8
    seq:
      - id: body
        type:
          switch-on: row.kind
          cases:
            1: record_batch(start)
            2: opening
            6: span_start(row.count)
            _: control(row.length)
    instances:
      row:
        value: _parent.as<frame>.table[index]
  control:
    params:
      - id: len
        type: u4
    seq:
      - id: body
        size: len
  opening:
    doc: SPEC.md, section 4.1.
    seq:
      - id: minor_version
        type: u2
      - id: zero
        size: 6
      - id: incompatible
        type: u8
      - id: readonly_compatible
        type: u8
      - id: compatible
        type: u8
      - id: cluster
        size: 16
      - id: shard
        type: u8
      - id: number
        type: u8
      - id: segment_bytes
        type: u8
      - id: predecessor_epoch
        type: u4
      - id: predecessor_zero
        size: 4
      - id: predecessor_number
        type: u8
      - id: predecessor_last_lsn
        type: u8
      - id: predecessor_chain
        type: u8
      - id: next_salt
        size: 16
  span_start:
    doc: SPEC.md, section 4.3.
    params:
      - id: count
        type: u4
    seq:
      - id: base_chain
        type: u8
      - id: leader
        type: u8
      - id: incarnation
        type: u8
      - id: previous_epoch
        type: u4
      - id: quorum
        type: u1
      - id: zero
        size: 3
      - id: holders
        type: holder(_io.pos)
        repeat: expr
        repeat-expr: count
  holder:
    params:
      - id: start
        type: u8
    seq:
      - id: node
        type: u8
      - id: store
        size: 16
  end_block:
    doc: SPEC.md, section 6.
    seq:
      - id: next_lsn
        type: u8
      - id: first_lsn
        type: u8
      - id: chain
        type: u8
      - id: zero
        size: 8
      - id: epoch
        type: u4
      - id: block_index
        type: u4
      - id: flags
        type: u4
      - id: zero_2
        size: 52
      - id: padding
        size: 3968
    instances:
      is_synced:
        value: (flags & 1) != 0
      is_clean_stop:
        value: (flags & 2) != 0
  footer:
    doc: SPEC.md, section 7.
    params:
      - id: start
        type: u8
    seq:
      - id: base_lsn
        type: u8
      - id: next_lsn
        type: u8
      - id: chain
        type: u8
      - id: body_len
        type: u8
      - id: epoch
        type: u4
      - id: block_index
        type: u4
      - id: body_crc
        type: u4
      - id: partitions
        type: u4
      - id: positions
        type: u4
      - id: producers
        type: u4
      - id: first_append_time
        type: s8
      - id: last_append_time
        type: s8
      - id: producer_batches
        type: u4
      - id: zero
        size: 20
      - id: content
        size: 'left < content_len ? left : content_len'
    instances:
      left:
        value: _io.size - start - 128
      content_len:
        value: (128 + body_len + 4095) / 4096 * 4096 - 128
      partition_rows:
        pos: start + 128
        type: footer_partition(_io.pos)
        repeat: expr
        repeat-expr: partitions
      position_rows:
        pos: start + 128 + partitions * 64
        type: footer_position(_io.pos)
        repeat: expr
        repeat-expr: positions
      producer_rows:
        pos: start + 128 + partitions * 64 + positions * 24
        type: footer_producer(_io.pos)
        repeat: expr
        repeat-expr: producers
      producer_batch_rows:
        pos: start + 128 + partitions * 64 + positions * 24 + producers * 32
        type: footer_producer_batch(_io.pos)
        repeat: expr
        repeat-expr: producer_batches
  footer_partition:
    params:
      - id: start
        type: u8
    seq:
      - id: partition
        type: u8
      - id: log_start
        type: u8
      - id: first_offset
        type: u8
      - id: next_offset
        type: u8
      - id: min_timestamp
        type: s8
      - id: max_timestamp
        type: s8
      - id: bytes
        type: u8
      - id: positions
        type: u4
      - id: zero
        size: 4
  footer_position:
    params:
      - id: start
        type: u8
    seq:
      - id: offset
        type: u8
      - id: max_timestamp
        type: s8
      - id: block
        type: u4
      - id: zero
        size: 4
  footer_producer:
    doc: SPEC.md, section 7.1.
    params:
      - id: start
        type: u8
    seq:
      - id: partition
        type: u8
      - id: producer_id
        type: s8
      - id: run
        type: u4
      - id: age
        type: u4
      - id: epoch
        type: s2
      - id: batches
        type: u2
      - id: zero
        size: 4
  footer_producer_batch:
    params:
      - id: start
        type: u8
    seq:
      - id: base_offset
        type: u8
      - id: lsn
        type: u8
      - id: first_sequence
        type: u4
      - id: count
        type: u4
  trailer:
    doc: SPEC.md, section 8.
    seq:
      - id: base_lsn
        type: u8
      - id: next_lsn
        type: u8
      - id: chain
        type: u8
      - id: footer_len
        type: u8
      - id: epoch
        type: u4
      - id: block_index
        type: u4
      - id: digest
        size: 16
        doc: XXH3-128 of all frames, big-endian.
      - id: padding
        size: 4008
  superblock:
    doc: SPEC.md, section 9; the prelude's salt is the store id.
    seq:
      - id: cluster
        size: 16
      - id: node
        type: u8
      - id: incarnation
        type: u8
      - id: generation
        type: u8
      - id: copy
        type: u4
      - id: minor_version
        type: u2
      - id: zero
        size: 2
      - id: incompatible
        type: u8
      - id: readonly_compatible
        type: u8
      - id: compatible
        type: u8
      - id: created
        type: s8
      - id: padding
        size: 3984
  record_batch:
    doc: Kafka's RecordBatch v2, big-endian; SPEC.md, section 11.
    meta:
      endian: be
    params:
      - id: start
        type: u8
    seq:
      - id: base_offset
        type: u8
      - id: length
        type: s4
      - id: leader_epoch
        type: s4
      - id: magic
        type: s1
      - id: crc
        type: u4
      - id: attributes
        type: u2
      - id: last_offset_delta
        type: s4
      - id: base_timestamp
        type: s8
      - id: max_timestamp
        type: s8
      - id: producer_id
        type: s8
      - id: producer_epoch
        type: s2
      - id: base_sequence
        type: s4
      - id: count
        type: s4
      - id: records
        type: record(_io.pos)
        repeat: expr
        repeat-expr: count
        if: codec == 0
      - id: compressed
        size: length - 49
        if: codec != 0
    instances:
      codec:
        value: attributes & 7
  record:
    params:
      - id: start
        type: u8
    seq:
      - id: length
        type: varint
      - id: attributes
        type: u1
      - id: timestamp_delta
        type: varint
      - id: offset_delta
        type: varint
      - id: key_length
        type: varint
      - id: key
        size: key_length.value
        if: key_length.value >= 0
      - id: value_length
        type: varint
      - id: value
        size: value_length.value
        if: value_length.value >= 0
      - id: headers
        type: varint
      - id: header_list
        type: header
        repeat: expr
        repeat-expr: headers.value
  header:
    seq:
      - id: name_length
        type: varint
      - id: name
        size: name_length.value
      - id: header_value_length
        type: varint
      - id: header_value
        size: header_value_length.value
        if: header_value_length.value >= 0
  varint:
    doc: Zig-zag, 7 bits a byte, lowest first.
    seq:
      - id: groups
        type: u1
        repeat: until
        repeat-until: (_ & 0x80) == 0
    instances:
      len:
        value: groups.size
      raw:
        value: >-
          (groups[0] & 0x7f)
          + (len > 1 ? (groups[1] & 0x7f) << 7 : 0)
          + (len > 2 ? (groups[2] & 0x7f) << 14 : 0)
          + (len > 3 ? (groups[3] & 0x7f) << 21 : 0)
          + (len > 4 ? (groups[4] & 0x7f) << 28 : 0)
          + (len > 5 ? (groups[5] & 0x7f) << 35 : 0)
          + (len > 6 ? (groups[6] & 0x7f) << 42 : 0)
          + (len > 7 ? (groups[7] & 0x7f) << 49 : 0)
          + (len > 8 ? (groups[8] & 0x7f) << 56 : 0)
          + (len > 9 ? (groups[9] & 0x7f) << 63 : 0)
      value:
        value: (raw >> 1) ^ -(raw & 1)
