"""Held requests with aiohttp: ``aiohttp_app.py PORT BODY``."""

import asyncio
import sys
from pathlib import Path

from aiohttp import web

BODY = Path(sys.argv[2]).read_bytes()
waiting: set = set()


async def wait(request):
    future = asyncio.get_running_loop().create_future()
    waiting.add(future)
    try:
        body = await future
    finally:
        waiting.discard(future)
    return web.Response(body=body, content_type="application/json")


async def fire(request):
    for future in list(waiting):
        future.set_result(BODY)
    return web.Response()


app = web.Application()
app.router.add_get("/wait", wait)
app.router.add_post("/fire", fire)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), backlog=4096, access_log=None, keepalive_timeout=600)
