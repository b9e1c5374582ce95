"""
OpenPBS and PBS Pro, a hook of the server: submission, start, end, changes and moves.

Run inside the server, where an exception would reject a job and a pause would hold everybody: one datagram to a socket
that never waits, and whatever goes wrong is passed over. Other hooks of the same events run as before.
"""

import socket

SOCKET, CLUSTER = "/var/lib/jobpush/nudge", "pbs"

try:
    import pbs

    event = pbs.event()
    job = getattr(getattr(event, "job", None), "id", None)
    nudge = '{"cluster": "%s"%s}' % (CLUSTER, ', "jobs": ["%s"]' % job if job else "")  # noqa: UP031 - PBS brings old Pythons
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setblocking(False)
    sender.sendto(nudge.encode(), SOCKET)
    sender.close()
except Exception:  # noqa: S110 - a job must not be rejected for want of a listener
    pass
