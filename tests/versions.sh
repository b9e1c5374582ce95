#!/bin/sh
# Run the unit tests on several versions of Python.
#     sh tests/versions.sh all     under pytest and trial, on each of VERSIONS that is found
#     sh tests/versions.sh ends    under pytest, on the oldest and the newest besides that of $PYTHON, which `make test` uses
# A version is found where one of the commands or paths in $PYTHONS runs it, or pythonX.Y on PATH does. Each has an environment
# of its own, .venv-X.Y. The status is 1 if a test fails, or an environment cannot be made.
set -eu
VERSIONS="3.10 3.11 3.12 3.13"
cd "$(dirname "$0")/.."

version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

# The command that runs Python $1, or nothing. One that is on PATH, but does not run (as a version manager's may be), is none.
find_python() {
    for candidate in ${PYTHONS:-} "python$1"; do
        if [ "$(version_of "$candidate")" = "$1" ]; then
            echo "$candidate"
            return
        fi
    done
}

unit_tests() {
    find tests -name 'test_*.py' -not -path 'tests/with_service/*' | sort
}

# Run the unit tests by the command $1, whose version is $2, under the runners $4; a line for each goes to the file $3.
run_version() {
    environment=.venv-$2
    if ! PYTHON=$1 VENV=$environment sh etc/setup-venv.sh '.[unit-tests]'; then
        echo "Python $2: FAILED, no environment could be made" >>"$3"
        return
    fi
    echo "== Python $2: pytest"
    if "$environment/bin/python" -m pytest -q tests --ignore tests/with_service; then result=passed; else result=FAILED; fi
    echo "Python $2: pytest $result" >>"$3"
    [ "$4" != pytest ] || return 0
    echo "== Python $2: trial"
    # shellcheck disable=SC2046
    if PYTHONPATH=.:adapters:client "$environment/bin/python" -m twisted.trial --temp-directory="$environment/trial" \
        --reporter=text $(unit_tests); then result=passed; else result=FAILED; fi
    echo "Python $2: trial $result" >>"$3"
}

for candidate in ${PYTHONS:-}; do
    version=$(version_of "$candidate")
    case " $VERSIONS " in
        *" ${version:-none} "*) ;;
        *) echo "passed over: $candidate (${version:-it does not run}; the versions are $VERSIONS)" >&2 ;;
    esac
done
found=
missing=
for version in $VERSIONS; do
    if [ -n "$(find_python "$version")" ]; then found="$found $version"; else missing="$missing $version"; fi
done
case ${1:-} in
    all)
        runners="pytest trial"
        chosen=$found
        if [ -z "$chosen" ]; then
            echo "no Python of $VERSIONS was found: put it on PATH, or name it in PYTHONS" >&2
            exit 1
        fi
        ;;
    ends)
        runners=pytest
        default=$(version_of "${PYTHON:-python3}")
        others=$(for version in $found; do [ "$version" = "$default" ] || echo "$version"; done)
        chosen=$(echo "$others" | sed -n '1p;$p' | uniq)
        [ -n "$chosen" ] || echo "no other Python than $default was found: the unit tests run on that one alone"
        ;;
    *)
        sed -n '2,4s/^# //p' "$0" >&2
        exit 2
        ;;
esac

results=$(mktemp)
trap 'rm -f "$results"' EXIT
for version in $chosen; do run_version "$(find_python "$version")" "$version" "$results" "$runners"; done
echo
cat "$results"
[ -z "$missing" ] || echo "not found, and not tested: Python$missing (name them in PYTHONS, or put them on PATH)"
! grep -q FAILED "$results"
