#!/bin/sh
# Install what the tests against a real Slurm, a real sshd and a real browser need, where that can be done: as root, on Debian.
# Nothing is started: the tests start their own cluster, in a directory of their own.
set -eu
need="slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge slurmdbd slurm-wlm-mysql-plugin mariadb-server-core mariadb-client-core openssh-server openssh-client chromium fonts-dejavu-core"
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
log=${TMPDIR:-/tmp}/jobpush-apt.log
# Without systemd the packages must not try to start their daemons.
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made=yes
fi
status=0
{
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 $missing
} >"$log" 2>&1 || status=$?
[ -z "$made" ] || rm -f "$policy"
if [ "$status" != 0 ]; then
    tail -5 "$log" >&2
    echo "SKIPPED: the tests against a real Slurm, sshd and browser; these packages could not be installed:$missing" >&2
    # A run that must not skip them fails here.
    [ -z "${CI:-}" ] || exit "$status"
fi
