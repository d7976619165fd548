#!/bin/sh
# Installs Homeport into a virtual environment of its own: what uv.lock says, without the tools of
# development. The Dockerfile runs it; a machine without containers can too:
#
#   sudo deploy/install.sh /opt/homeport        (PYTHON=/usr/bin/python3.12 for another Python)
#
# Packages come from PIP_INDEX_URL and UV_DEFAULT_INDEX where those are set, and have to be, byte for
# byte, those of uv.lock. A CA for that index: SSL_CERT_FILE (uv), PIP_CERT (pip).
set -eu
[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
source=$(cd "$(dirname "$0")/.." && pwd)
case $1 in
/*) target=$1 ;;
*) target=$PWD/$1 ;;
esac
# What root installs is for another user to run, whatever root's own umask is.
umask 022

# Run a command as the gateway's user will: somebody who owns nothing. Only root can be someone else,
# and what setpriv starts first may still be found with root's rights: that is a shell.
as_other() {
    if [ "$(id -u)" = 0 ]; then
        (cd / && setpriv --reuid=65534 --regid=65534 --clear-groups sh -c 'exec "$@"' sh "$@")
    else
        "$@"
    fi
}

# The environment is links to its Python, and one in root's home is of no use to others.
if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3 /usr/bin/python3; fi
python=
for name; do
    found=$(command -v "$name") || continue
    if as_other "$found" -c '' 2>/dev/null; then
        python=$found
        break
    fi
done
[ -n "$python" ] || {
    echo "$0: other users than $(id -un) can't run $*: set PYTHON to a Python that they can" >&2
    exit 1
}

mkdir -p "$target"
as_other test -x "$target" || {
    echo "$0: other users than $(id -un) can't enter $target: chmod a+rx it, and the folders above it" >&2
    exit 1
}

# uv is needed only here, and at the version that uv.lock has for development.
version=$(sed -n '/^name = "uv"$/{n;s/^version = "\(.*\)"$/\1/p;}' "$source/uv.lock")
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"$python" -m venv "$tools"
"$tools/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$version"
uv=$tools/bin/uv
export UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never

# Not `uv sync`, which fetches from the addresses in uv.lock, whatever index is asked for.
"$uv" export --quiet --frozen --no-dev --no-emit-workspace --package homeport-gateway --project "$source" \
    --python "$python" --output-file "$tools/locked.txt"
"$uv" venv --quiet --allow-existing --no-project --python "$python" "$target"
"$uv" pip sync --quiet --python "$target/bin/python" --require-hashes "$tools/locked.txt"
# Anew each time: the version alone does not say that the source is the same.
"$uv" pip install --quiet --python "$target/bin/python" --no-deps \
    --reinstall-package homeport --reinstall-package homeport-gateway "$source/protocol" "$source/gateway"

as_other "$target/bin/homeport" --help >/dev/null || {
    echo "$0: other users than $(id -un) can't run $target/bin/homeport:" \
        "may they enter that folder, and those above it?" >&2
    exit 1
}
