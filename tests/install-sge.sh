#!/bin/sh
# Unpack Grid Engine into the directory $1 for the tests, where that can be done: as root, on Debian.
# Its Debian packages want a mail server and files in /etc; only their programs are taken. Nothing is started.
set -eu
into=$1
case $into in /*) ;; *) into=$PWD/$into ;; esac
[ ! -e "$into/complete" ] || exit 0
libraries="libjemalloc2 libmunge2 libtirpc3 libhwloc15 libdb5.3 libssl3 gcc libc6-dev perl-base"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || [ "$(dpkg --print-architecture)" != amd64 ]; then
    echo "SKIPPED: the tests against a real Grid Engine; they need root on a Debian amd64" >&2
    exit 0
fi
missing=
for package in $libraries; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
echo "unpacking Grid Engine${missing:+, installing$missing}"
log=${TMPDIR:-/tmp}/jobpush-apt.log
work=$(mktemp -d)
# apt's downloads run as a user of their own
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
status=0
{
    apt-get update -qq
    # shellcheck disable=SC2086
    [ -z "$missing" ] || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 $missing
    (cd "$work" && apt-get download -qq gridengine-master gridengine-exec gridengine-client gridengine-common)
} >"$log" 2>&1 || status=$?
if [ "$status" != 0 ]; then
    tail -5 "$log" >&2
    echo "SKIPPED: the tests against a real Grid Engine; its packages could not be had" >&2
    # A run that must not skip them fails here.
    [ -z "${CI:-}" ] || exit "$status"
    exit 0
fi
rm -rf "$into"
mkdir -p "$into/bin/lx-amd64" "$into/lib/lx-amd64"
for deb in "$work"/*.deb; do dpkg-deb -x "$deb" "$work/x"; done
find "$work/x/usr/lib/gridengine" -maxdepth 1 -type f ! -name '*.so' -exec mv {} "$into/bin/lx-amd64/" \;
mv "$work/x"/usr/lib/gridengine/*.so "$into/lib/lx-amd64/"
mv "$work/x/usr/share/gridengine/util" "$into/util"
mv "$work/x/usr/share/gridengine/default-configuration" "$into/util/"
cd "$into/bin/lx-amd64"
for link in qhold qresub qrls; do ln -sf qalter $link; done
# Debian's build looks for its spooling library in one fixed place; let it look where upstream's does.
grep -l '/usr/lib/gridengine/%s%s' ./* | while read -r program; do
    perl -pi -e 's{/usr/lib/gridengine/%s%s}{"%s%s" . "\0" x 20}e' "$program"
done
# It listens on every address; a line of C makes that one of loopback.
cat >"$work/bind.c" <<'C'
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
int bind(int fd, const struct sockaddr *address, socklen_t size) {
    int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
    const char *only = getenv("BIND_ADDRESS");
    if (only && address->sa_family == AF_INET) {
        struct sockaddr_in one = *(const struct sockaddr_in *)address;
        if (one.sin_addr.s_addr == htonl(INADDR_ANY)) inet_pton(AF_INET, only, &one.sin_addr);
        return next(fd, (struct sockaddr *)&one, sizeof one);
    }
    return next(fd, address, size);
}
C
gcc -shared -fPIC -O1 -o "$into/bind.so" "$work/bind.c" -ldl
touch "$into/complete"
