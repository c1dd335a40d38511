#!/usr/bin/env python3
"""Reads every golden file twice, with Kaitai's runtime and with tidelog-inspect, and compares field by field.

check.py INSPECTOR FOLDER..., with the compiled tidelog.py on the module path; folders are searched to their ends.

Every field that the inspector shows of a structure must have the same value in the Kaitai reader's structure at the
same byte. What only the Kaitai reader sees must lie where the inspector says that nothing can be believed, or that
an earlier life of the file left it: Kaitai has no checksums.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from kaitaistruct import KaitaiStream, BytesIO
from tidelog import Tidelog

PRELUDE = ["magic", "header_crc", "header_len", "kind", "version", "salt"]


def varint(one):
    return one.value


class Seen:
    """The structures of one file: (name, first byte) -> field -> value."""

    def __init__(self):
        self.all = {}

    def add(self, name, start, fields):
        self.all[(name, start)] = fields

    def plain(self, name, start, one, names):
        self.add(name, start, {field: getattr(one, field) for field in names})

    def headed(self, name, structure, one, names):
        fields = {"magic": structure.magic}
        fields.update({field: getattr(structure.prelude, field) for field in PRELUDE[1:]})
        fields.update({field: getattr(one, field) for field in names})
        self.add(name, structure.start, fields)

    def structure(self, one):
        if one.kind == 0 and one.has_magic:
            self.headed("prelude", one, None, [])
        elif one.kind == 1:
            self.frame(one)
        elif one.kind == 2:
            names = "next_lsn first_lsn chain zero epoch block_index flags zero_2 padding"
            self.headed("end-block", one, one.end_block, names.split())
        elif one.kind == 3:
            self.footer(one)
        elif one.kind == 4:
            names = "base_lsn next_lsn chain footer_len epoch block_index digest padding"
            self.headed("trailer", one, one.trailer, names.split())
        elif one.kind == 5:
            names = ("cluster node incarnation generation copy minor_version zero incompatible readonly_compatible "
                     "compatible created padding")
            self.headed("superblock", one, one.superblock, names.split())

    def frame(self, one):
        names = "lsn committed_lsn chain append_time epoch block_index body_len entries table_crc zero"
        self.headed("frame-header", one, one.frame, names.split())
        try:
            table, bodies = one.frame.table, one.frame.bodies
        except Exception:  # A damaged table leads anywhere; the inspector says so, too.
            return
        for row, entry in zip(table, bodies):
            self.plain("row", row.start, row, "partition base_offset length count kind flags reserved".split())
            if row.kind == 1:
                self.batch(entry.body)
            elif row.kind == 2:
                names = ("minor_version zero incompatible readonly_compatible compatible cluster shard number "
                         "segment_bytes predecessor_epoch predecessor_zero predecessor_number predecessor_last_lsn "
                         "predecessor_chain next_salt")
                self.plain("opening", entry.start, entry.body, names.split())
            elif row.kind == 6:
                names = "base_chain leader incarnation previous_epoch quorum zero"
                self.plain("span-start", entry.start, entry.body, names.split())
                for holder in entry.body.holders:
                    self.plain("holder", holder.start, holder, ["node", "store"])
            else:
                self.plain("control", entry.start, entry.body, ["body"])

    def footer(self, one):
        names = ("base_lsn next_lsn chain body_len epoch block_index body_crc partitions positions producers "
                 "first_append_time last_append_time producer_batches zero")
        self.headed("footer-header", one, one.footer, names.split())
        for row in one.footer.partition_rows:
            names = "partition log_start first_offset next_offset min_timestamp max_timestamp bytes positions zero"
            self.plain("footer-partition", row.start, row, names.split())
        for row in one.footer.position_rows:
            self.plain("footer-position", row.start, row, "offset max_timestamp block zero".split())
        for row in one.footer.producer_rows:
            names = "partition producer_id run age epoch batches zero"
            self.plain("footer-producer", row.start, row, names.split())
        for row in one.footer.producer_batch_rows:
            self.plain("footer-producer-batch", row.start, row, "base_offset lsn first_sequence count".split())

    def batch(self, one):
        names = ("base_offset length leader_epoch magic crc attributes last_offset_delta base_timestamp "
                 "max_timestamp producer_id producer_epoch base_sequence count")
        self.plain("batch-header", one.start, one, names.split())
        for record in getattr(one, "records", []):
            fields = {"attributes": record.attributes}
            for name in "length timestamp_delta offset_delta key_length value_length headers".split():
                fields[name] = varint(getattr(record, name))
            for name in ("key", "value"):
                if hasattr(record, name):
                    fields[name] = getattr(record, name)
            fields["header_list"] = [
                (header.name, getattr(header, "header_value", None)) for header in record.header_list
            ]
            self.add("record", record.start, fields)


def kaitai(path):
    seen = Seen()
    data = path.read_bytes()
    if path.name.startswith("batch-"):
        stream = KaitaiStream(BytesIO(data))
        seen.batch(Tidelog.RecordBatch(0, stream, None, None))
    else:
        for one in Tidelog(KaitaiStream(BytesIO(data))).structures:
            seen.structure(one)
    return seen.all


def inspector(program, path):
    run = subprocess.run([program, "explain", path, "--fields", "--output", "json"], capture_output=True, text=True)
    if run.returncode not in (0, 1, 5):
        sys.exit(f"{path}: tidelog-inspect: {run.stderr}")
    return [json.loads(line) for line in run.stdout.splitlines()]


def same(value, field):
    """Whether a value of Kaitai's is what the inspector shows of it."""
    shown = field["value"]
    if isinstance(value, bytes):
        if isinstance(shown, int):  # Zeroes are shown as a number: whether something is not zero.
            return (shown != 0) == any(value)
        cut = len(value) > 256
        texts = [value.hex(), value.decode("utf-8", "replace")]
        return any(text == shown or (cut and text.startswith(shown)) for text in texts)
    if isinstance(shown, str):  # Checksums.
        return int(shown, 16) == value
    return shown == value


def compare(path, ours, theirs):
    problems, fields = [], 0
    names = {name for name, _ in theirs} | {"frame-header", "row", "batch-header", "record", "control"}
    unbelieved = [(one["from"], one["to"]) for one in ours
                  if one["structure"] in ("body", "unknown", "zeroes", "footer-rest")]
    known = set()
    for one in ours:
        key = (one["structure"], one["from"])
        known.add(key)
        if one["structure"] not in names:
            continue
        other = theirs.get(key)
        if other is None:
            problems.append(f"{key} is not seen by kaitai")
            continue
        headers = []
        for field in one["fields"]:
            name = field["field"]
            if name == "rest":
                continue
            fields += 1
            if name in ("name", "header_value", "name_length", "header_value_length"):
                headers.append(field)
                continue
            if name not in other:
                problems.append(f"{key}: kaitai has no field {name}")
            elif not same(other[name], field):
                problems.append(f"{key}.{name}: {field['value']!r} and {other[name]!r}")
        for (name, value), pair in zip(other.get("header_list", []), pairs(headers)):
            if not same(name, pair["name"]) or (value is not None and not same(value, pair["header_value"])):
                problems.append(f"{key}: header {name!r} differs")
    for name, start in theirs.keys() - known:
        if not any(low <= start < high for low, high in unbelieved):
            problems.append(f"({name}, {start}) is seen by kaitai only")
    return problems, fields


def pairs(fields):
    """Headers of a record, each a dictionary of its fields."""
    out = []
    for field in fields:
        if field["field"] == "name_length":
            out.append({})
        out[-1][field["field"]] = field
    return out


def restored(folder, scratch):
    """The folder, or a copy whose files are as long as they were, where they are kept without the zeroes at their ends."""
    lengths = folder.parent / "files.json"
    if not lengths.exists():
        return folder
    copy = scratch / folder.parent.name
    shutil.copytree(folder, copy)
    for name, length in json.loads(lengths.read_text()).items():
        os.truncate(copy / name, length)
    return copy


def main():
    with tempfile.TemporaryDirectory() as scratch:
        check(sys.argv[1], [restored(pathlib.Path(folder), pathlib.Path(scratch)) for folder in sys.argv[2:]])


def check(program, folders):
    files = structures = fields = 0
    failed = False
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        # A file that is made ready and not begun may have no byte yet.
        if not (path.suffix in (".seg", ".bin") or path.name in ("superblock", "promises")) or not path.stat().st_size:
            continue
        ours, theirs = inspector(program, path), kaitai(path)
        problems, compared = compare(path, ours, theirs)
        for problem in problems:
            print(f"{path}: {problem}")
        failed = failed or bool(problems)
        files, structures, fields = files + 1, structures + len(ours), fields + compared
    print(f"{files} files, {structures} structures, {fields} fields compared")
    if failed or files < 60 or fields < 10000:
        sys.exit("kaitai: the two readers differ" if failed else "kaitai: too little was compared")


main()
