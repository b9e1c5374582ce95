#!/bin/sh
# Install what the tests against a real Slurm, a real sshd, a real browser and real proxies need, libfaketime for those that set a
# clock, systemd's lists of system calls with libseccomp, and a C compiler for the load generator of those with many clients, where
# that can be done: as root, on Debian.
# Nothing is started: the tests start their own cluster, in a directory of their own.
set -eu
need="slurmctld slurmd slurm-client slurm-wlm-basic-plugins slurm-wlm-jwt-plugin munge slurmdbd slurm-wlm-mysql-plugin mariadb-server-core mariadb-client-core openssh-server openssh-client strace chromium fonts-dejavu-core faketime nginx-light haproxy curl jq systemd libseccomp2"
command -v cc >/dev/null || need="$need gcc libc6-dev"
missing=
for package in $need; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "SKIPPED: the tests against a real Slurm, sshd and browser; they need root and these packages:$missing" >&2
    exit 0
fi
echo "installing$missing"
status=0
# shellcheck disable=SC2086
sh "$(dirname "$0")/../etc/apt-install.sh" $missing || status=$?
if [ "$status" != 0 ]; then
    echo "SKIPPED: the tests against a real Slurm, sshd and browser; these packages could not be installed:$missing" >&2
    # A run that must not skip them fails here.
    [ -z "${CI:-}" ] || exit "$status"
fi
