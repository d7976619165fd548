#!/bin/sh
# Installs Homeport into a virtual environment of its own: what uv.lock says, without the tools of
# development. The Dockerfile runs it; a machine without containers can too:
#
#   sudo deploy/install.sh /opt/homeport        (PYTHON=python3.12 for another Python)
set -eu
[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
source=$(cd "$(dirname "$0")/.." && pwd)
python=$(command -v "${PYTHON:-python3}")

# uv is needed only here, and at the version that uv.lock has for development.
uv=$(sed -n '/^name = "uv"$/{n;s/^version = "\(.*\)"$/\1/p;}' "$source/uv.lock")
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"$python" -m venv "$tools"
"$tools/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$uv"

UV_PROJECT_ENVIRONMENT=$1 "$tools/bin/uv" sync --quiet --project "$source" \
    --python "$python" --no-python-downloads \
    --frozen --no-dev --no-editable --link-mode copy --compile-bytecode
