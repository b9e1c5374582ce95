#!/bin/sh
# Make a virtual environment in $VENV and install into it what is named, as an editable install.
#     PYTHON=python3 VENV=.venv sh etc/setup-venv.sh .[dev]
set -eu
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}

if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "jobpush needs Python 3.10 or newer; '$PYTHON' is none (set PYTHON=…)" >&2
    exit 1
fi
if [ ! -x "$VENV/bin/pip" ]; then
    # Debian's python3 can make no environment until python3-venv is there.
    if ! "$PYTHON" -c 'import ensurepip' 2>/dev/null; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            echo "installing python3-venv"
            { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv; } \
                >"${TMPDIR:-/tmp}/jobpush-apt.log" 2>&1 || { tail -5 "${TMPDIR:-/tmp}/jobpush-apt.log" >&2; exit 1; }
        else
            echo "$PYTHON has no venv. On Debian or Ubuntu, type:  sudo apt-get install python3-venv" >&2
            exit 1
        fi
    fi
    "$PYTHON" -m venv "$VENV"
fi
echo "installing $* into $VENV"
"$VENV/bin/pip" install --quiet --disable-pip-version-check --editable "$@"
