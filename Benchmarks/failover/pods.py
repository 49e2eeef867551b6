"""The service's pods: each answers with its name, over HTTP/1.1 and HTTP/2 without TLS.

Run as `python3 pods.py FILE`, which holds `[[name, address, port], ...]`. It does what it is told on
standard input, an order a line, and says "done" after each:

    5xx PREFIX     pods whose name begins so answer 503
    stop PREFIX    they refuse: connections are reset, and new ones find no listener
    start PREFIX   they listen, and answer 200
    report PREFIX  says how many requests they had, and how many at once at the most, as JSON

Of HTTP/2 it knows what an answer needs that does not depend on the request: frames, SETTINGS and PING.
"""
import asyncio
import gc
import json
import socket
import sys

SERVICE_TIME = 0.005
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6


def frame(kind, flags, stream, payload=b""):
    return (len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
            + payload)


class Pod:
    def __init__(self, name, address, port):
        self.name, self.address, self.port = name, address, port
        self.server = None
        self.connections = set()
        self.fails = False
        self.requests = self.active = 0
        body = name.encode()
        length = str(len(body)).encode()
        # RFC 7541: `:status` 200 is entry 8; entries 8 and 28 name `:status` and `content-length`.
        block = b"\x0f\x0d" + bytes([len(length)]) + length
        self.http2 = {False: b"\x88" + block, True: b"\x08\x03503" + block}
        self.http1 = {
            fails: b"HTTP/1.1 %s\r\ncontent-length: %s\r\n\r\n%s" % (line, length, body)
            for fails, line in ((False, b"200 OK"), (True, b"503 Service Unavailable"))}
        self.body = body

    async def start(self):
        self.fails = False
        if self.server:
            return
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((self.address, self.port))
        self.server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), sock=listening, backlog=1024)

    def stop(self):
        if self.server:
            self.server.close()
            self.server = None
        for connection in list(self.connections):
            connection.abort()


class Load:
    """How many requests the pods of a cluster have at once, and had at the most."""
    active = peak = 0


class Connection(asyncio.Protocol):
    def __init__(self, pod):
        self.pod = pod
        self.load = loads[pod.name.partition("-")[0]]
        self.data = b""
        self.is_http2 = None
        self.timers = {}

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pod.connections.add(self)

    def connection_lost(self, _):
        self.pod.connections.discard(self)
        for timer in list(self.timers):
            self.given_up(timer)

    def abort(self):
        # Lingering for no time turns the close into a reset.
        self.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.transport.abort()

    def data_received(self, data):
        self.data += data
        if self.is_http2 is None:
            if len(self.data) < len(PREFACE) and PREFACE.startswith(self.data):
                return
            self.is_http2 = self.data.startswith(PREFACE)
            if self.is_http2:
                self.data = self.data[len(PREFACE):]
                self.transport.write(frame(SETTINGS, 0, 0))
        if self.is_http2:
            self.frames()
        else:
            while (end := self.data.find(b"\r\n\r\n")) >= 0:
                self.data = self.data[end + 4:]
                self.requested(1)

    def frames(self):
        at = 0
        while len(self.data) - at >= 9:
            length = int.from_bytes(self.data[at:at + 3], "big")
            if len(self.data) - at < 9 + length:
                break
            kind, flags = self.data[at + 3], self.data[at + 4]
            stream = int.from_bytes(self.data[at + 5:at + 9], "big")
            payload = self.data[at + 9:at + 9 + length]
            at += 9 + length
            if kind in (SETTINGS, PING) and not flags & 1:
                self.transport.write(frame(kind, 1, 0, payload if kind == PING else b""))
            elif kind in (HEADERS, DATA) and flags & 1:
                self.requested(stream)
            elif kind == RST_STREAM:
                self.given_up(stream)
        self.data = self.data[at:]

    def requested(self, stream):
        pod = self.pod
        pod.requests += 1
        self.load.active += 1
        self.load.peak = max(self.load.peak, self.load.active)
        self.timers[stream] = asyncio.get_running_loop().call_later(
            SERVICE_TIME, self.answer, stream)

    def given_up(self, stream):
        timer = self.timers.pop(stream, None)
        if timer:
            timer.cancel()
            self.load.active -= 1

    def answer(self, stream):
        self.timers.pop(stream, None)
        pod = self.pod
        self.load.active -= 1
        if self.is_http2:
            self.transport.write(
                frame(HEADERS, 4, stream, pod.http2[pod.fails]) + frame(DATA, 1, stream, pod.body))
        else:
            self.transport.write(pod.http1[pod.fails])


pods = []
loads = {"local": Load(), "remote": Load()}


async def obey(line):
    verb, _, prefix = line.strip().partition(" ")
    meant = [pod for pod in pods if pod.name.startswith(prefix)]
    if verb == "report":
        print(json.dumps({"requests": sum(pod.requests for pod in meant),
                          "peak": max(load.peak for name, load in loads.items()
                                      if name.startswith(prefix))}), flush=True)
        return
    for pod in meant:
        if verb == "5xx":
            pod.fails = True
        elif verb == "stop":
            pod.stop()
        elif verb == "start":
            await pod.start()
    print("done", flush=True)


async def main():
    gc.disable()
    with open(sys.argv[1]) as file:
        pods.extend(Pod(*what) for what in json.load(file))
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        await obey(line.decode())


if __name__ == "__main__":
    asyncio.run(main())
