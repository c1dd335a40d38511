#!/usr/bin/env bash
# Compiles format/tidelog.ksy with Kaitai's own compiler and compares what its reader sees of every golden file and of
# every golden directory of tests/compat with what tidelog-inspect says, field by field. Needs node with npm, and python3
# with venv.
# Usage: format/kaitai/check.sh [INSPECTOR]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
inspector=${1:-$target/debug/tidelog-inspect}
work=$target/kaitai
mkdir -p "$work/module"
cp "$here/package.json" "$here/compile.js" "$work/"
(cd "$work" && npm install --no-audit --no-fund --silent)
[ -x "$work/venv/bin/python" ] || python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
node "$work/compile.js" "$root/format/tidelog.ksy" "$work/module"
PYTHONPATH=$work/module "$work/venv/bin/python" "$here/check.py" "$inspector" "$root/format/vectors" \
    "$root"/tests/compat/*/data
