#!/bin/sh
# Install the servers that jobpush is measured beside, and a C compiler for the load generator, as root on Debian. Nothing is
# started.
set -eu
need="nginx-light libnginx-mod-nchan libjetty9-java default-jdk-headless"
command -v cc >/dev/null || need="$need gcc libc6-dev"
missing=
for package in $need; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
# Another Java compiler will do.
command -v javac >/dev/null && missing=$(echo "$missing" | sed 's/default-jdk-headless//')
[ -n "${missing# }" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not measured without these packages; as root on Debian: apt-get install$missing" >&2
    exit 0
fi
echo "installing$missing"
# shellcheck disable=SC2086
exec sh "$(dirname "$0")/../etc/apt-install.sh" $missing
