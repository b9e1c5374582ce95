#!/bin/sh
# Install these Debian packages, as root, without starting what they bring: for tests and benchmarks, which start their own.
#     sh etc/apt-install.sh PACKAGE…
set -eu
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
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
} >"$log" 2>&1 || status=$?
[ -z "$made" ] || rm -f "$policy"
[ "$status" = 0 ] || tail -5 "$log" >&2
exit "$status"
