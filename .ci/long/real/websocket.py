"""The `websockets` library through the proxy, to its own server and to the synthetic backend."""

import asyncio
import os
import time

from websockets.asyncio.client import connect

from checks import check, expect


@check("WebSocket, 500 echoes")
def echoes(stage):
    return asyncio.run(texts(stage, "/socket/echo", 500))


@check("WebSocket, 500 echoes, backend")
def echoes_of_backend(stage):
    return asyncio.run(texts(stage, "/ws", 500))


@check("WebSocket, binary 64 KiB")
def binary(stage):
    return asyncio.run(frames(stage, "/socket/echo", 100, 65536))


@check("WebSocket, 50 at once, pings")
def at_once(stage):
    return asyncio.run(many(stage, 50, 20))


def address(stage, path):
    return f"ws://127.0.0.1:{stage.ports['web']}{path}"


async def texts(stage, path, count):
    async with asyncio.timeout(60), connect(address(stage, path)) as socket:
        start = time.monotonic()
        for number in range(count):
            await socket.send(f"message {number} ü")
            answer = await socket.recv()
            expect(answer == f"message {number} ü", f"{number}: {answer!r}")
        took = time.monotonic() - start
        await socket.close()
        expect(socket.close_code == 1000, f"closed with {socket.close_code}")
    return f"{count} of {count} equal, {took / count * 1e6:.0f} us each, closed with 1000"


async def frames(stage, path, count, size):
    async with asyncio.timeout(60), connect(address(stage, path), compression=None, max_size=None) as socket:
        sent = [os.urandom(size) for _ in range(count)]

        async def send():
            for one in sent:
                await socket.send(one)

        sender = asyncio.create_task(send())
        for number, one in enumerate(sent):
            expect(await socket.recv() == one, f"frame {number} differs")
        await sender
        big = os.urandom(8 << 20)
        await socket.send(big)
        expect(await socket.recv() == big, "the message of 8 MiB differs")
    return f"{count} frames of {size} bytes and one of 8 MiB equal"


async def many(stage, sockets, count):
    async def one():
        async with connect(address(stage, "/socket/echo")) as socket:
            for number in range(count):
                await socket.send(str(number))
                expect(await socket.recv() == str(number), "another answer")
                await (await socket.ping())

    async with asyncio.timeout(60):
        await asyncio.gather(*(one() for _ in range(sockets)))
    return f"{sockets} connections with {count} echoes and pings each"
