"""Held requests with Tornado: ``tornado_app.py PORT BODY``."""

import asyncio
import sys
from pathlib import Path

import tornado.web

BODY = Path(sys.argv[2]).read_bytes()
waiting: set = set()


class Wait(tornado.web.RequestHandler):
    async def get(self):
        self.future = asyncio.get_running_loop().create_future()
        waiting.add(self.future)
        try:
            body = await self.future
        finally:
            waiting.discard(self.future)
        self.set_header("Content-Type", "application/json")
        self.write(body)

    def on_connection_close(self):
        self.future.cancel()


class Fire(tornado.web.RequestHandler):
    def post(self):
        for future in list(waiting):
            future.set_result(BODY)


async def main():
    app = tornado.web.Application([("/wait", Wait), ("/fire", Fire)], log_function=lambda handler: None)
    app.listen(int(sys.argv[1]), address="127.0.0.1", backlog=4096, idle_connection_timeout=600)
    await asyncio.Event().wait()


asyncio.run(main())
