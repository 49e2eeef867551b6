"""Steady requests: GETs that begin on time whatever became of those before (an open loop)."""
import asyncio
import gc
import socket
from collections import namedtuple

# `start` is when it was to begin, so a client that lags is not in the proxy's favour. `pod` is who
# answered, "" for nobody.
Request = namedtuple("Request", "service start end status pod")
DEADLINE = 10.0


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection, one request at a time."""

    def __init__(self, load):
        self.load = load
        self.data = b""
        self.request = self.transport = self.timer = None

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, service, start):
        self.request = (service, start)
        self.timer = self.load.loop.call_later(DEADLINE, self.transport.abort)
        self.transport.write(b"GET /who HTTP/1.1\r\nhost: svc%d.mesh\r\n\r\n" % service)

    def data_received(self, data):
        self.data += data
        head, found, rest = self.data.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.split(b"\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in lines[1:] if b": " in line)
        if fields.get(b"transfer-encoding") == b"chunked":
            if not rest.endswith(b"0\r\n\r\n"):
                return
        elif len(rest) < int(fields.get(b"content-length", 0)):
            return
        self.data = b""
        status = int(lines[0].split(b" ")[1])
        closes = fields.get(b"connection") == b"close"
        self.ended(status, rest.decode(errors="replace") if status == 200 else "")
        if closes:
            self.transport.abort()
        else:
            self.load.idle.append(self)

    def connection_lost(self, _):
        if self in self.load.idle:
            self.load.idle.remove(self)
        if self.request:
            self.ended(0, "")

    def ended(self, status, pod):
        self.timer.cancel()
        service, start = self.request
        self.request = None
        self.load.requests.append(Request(service, start, self.load.loop.time(), status, pod))


class Load:
    def __init__(self, address, port, rate, services):
        self.address, self.port, self.rate, self.services = address, port, rate, services
        self.loop = asyncio.get_running_loop()
        self.idle, self.requests = [], []
        self.begun = 0
        gc.disable()

    async def run(self, seconds):
        """Begins requests for so long; those that began last may still be under way then."""
        first = self.loop.time()
        for number in range(int(seconds * self.rate)):
            due = first + number / self.rate
            wait = due - self.loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            self.begin(self.begun % self.services, due)
            self.begun += 1

    def begin(self, service, due):
        if self.idle:
            self.idle.pop().send(service, due)
            return
        task = self.loop.create_task(self.connect(service, due))
        task.add_done_callback(lambda task: task.exception())

    async def connect(self, service, due):
        try:
            _, connection = await self.loop.create_connection(
                lambda: Connection(self), self.address, self.port)
        except OSError:
            self.requests.append(Request(service, due, self.loop.time(), 0, ""))
            return
        connection.send(service, due)

    async def settle(self):
        """Waits until all requests have ended."""
        while len(self.requests) < self.begun:
            await asyncio.sleep(0.01)
