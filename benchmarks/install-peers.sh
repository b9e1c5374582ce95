#!/bin/sh
# Install the servers that jobpush is measured beside, as root on Debian. Nothing is started.
set -eu
need="nginx-light libnginx-mod-nchan libjetty9-java default-jdk-headless"
missing=
for package in $need; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
# Another Java compiler will do.
command -v javac >/dev/null && missing=$(echo "$missing" | sed 's/default-jdk-headless//')
[ -n "${missing# }" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not measured: nchan, Jetty; as root on Debian: apt-get install$missing" >&2
    exit 0
fi
echo "installing$missing"
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made=yes
fi
status=0
log=${TMPDIR:-/tmp}/jobpush-apt.log
{
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 $missing
} >"$log" 2>&1 || status=$?
[ -z "$made" ] || rm -f "$policy"
[ "$status" = 0 ] || tail -5 "$log" >&2
exit "$status"
