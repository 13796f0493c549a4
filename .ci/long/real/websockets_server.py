"""A WebSocket server that echoes every message."""

import asyncio
import sys

from websockets.asyncio.server import serve


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def main(port):
    async with serve(echo, "127.0.0.1", port, max_size=None) as server:
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
