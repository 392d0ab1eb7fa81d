#!/usr/bin/env python3
"""What programs do with Python's websockets over TLS: check.py URL CERTIFICATE TOKEN"""
import asyncio
import itertools
import json
import ssl
import sys
import time
import traceback

from websockets.asyncio.client import connect

url, cert, token = sys.argv[1:]
trust = ssl.create_default_context(cafile=cert)
numbers = itertools.count(1)
checks = []


def check(function):
    checks.append(function)
    return function


def dial(to=url, tls=trust, **more):
    return connect(to, ssl=tls, max_size=None, **more)


async def call(socket, method, params=None):
    number = str(next(numbers))
    await socket.send(json.dumps({"type": "req", "id": number, "method": method, "params": params or {}}))
    while True:
        frame = json.loads(await socket.recv())
        if frame.get("id") == number:
            assert frame["ok"], frame
            return frame["payload"]


async def hello(socket):
    challenge = json.loads(await socket.recv())
    assert challenge["event"] == "connect.challenge", challenge
    client = {"id": "cli", "version": "1", "platform": "linux", "mode": "cli"}
    return await call(socket, "connect", {
        "minProtocol": 3, "maxProtocol": 3, "client": client, "role": "operator", "scopes": ["operator.admin"],
        "auth": {"token": token}})


@check
async def names_of_the_certificate():
    for host in ("localhost", "127.0.0.1"):
        async with dial(url.replace("localhost", host)) as socket:
            assert (await hello(socket))["type"] == "hello-ok"
            assert socket.transport.get_extra_info("ssl_object").version() == "TLSv1.3"


@check
async def another_authority():
    try:
        async with dial(tls=ssl.create_default_context()):
            raise AssertionError("believed")
    except ssl.SSLCertVerificationError:
        pass


@check
async def an_old_version():
    old = ssl.create_default_context(cafile=cert)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        async with dial(tls=old):
            raise AssertionError("let in")
    except ssl.SSLError as error:
        assert "PROTOCOL_VERSION" in error.reason, error


@check
async def big_answers_and_pings():
    async with dial() as socket:
        await hello(socket)
        for _ in range(5):
            assert len(json.dumps(await call(socket, "config.schema"))) > 100_000
            await (await socket.ping(b"there?"))


@check
async def big_requests():
    async with dial() as socket:
        await hello(socket)
        assert (await call(socket, "system-event", {"text": "x" * 200_000}))["ok"]


@check
async def goodbyes():
    async with dial() as socket:
        await hello(socket)
        await socket.close(1000, "bye")
        assert socket.close_code == 1000, socket.close_code


@check
async def a_crowd():
    async def one():
        async with dial() as socket:
            await hello(socket)
            await call(socket, "health")
    for _ in range(20):
        await asyncio.gather(*(one() for _ in range(50)))


@check
async def many_at_once_on_one_socket():
    async with dial() as socket:
        await hello(socket)
        sent = [str(next(numbers)) for _ in range(500)]
        for number in sent:
            await socket.send(json.dumps({"type": "req", "id": number, "method": "health", "params": {}}))
        left = set(sent)
        while left:
            left.discard(json.loads(await socket.recv()).get("id"))


failed = 0
for one in checks:
    began = time.monotonic()
    try:
        asyncio.run(asyncio.wait_for(one(), 60))
        print(f"ok    python {one.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
    except Exception as error:  # whatever it is, the others go on
        failed += 1
        print(f"FAIL  python {one.__name__}: {type(error).__name__}: {str(error)[:300]}", flush=True)
        traceback.print_exc(limit=-2)
sys.exit(1 if failed else 0)
