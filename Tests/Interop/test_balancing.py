"""Shares and retries beside Envoy, from the same file: what the failover targets promise in numbers."""
import asyncio
import collections
import http.client

import harness as h

REQUESTS = 2000
STORM = 1000


class Shares(h.Case):
    def shares(self, kind, localities, policy=None, **common):
        """How many of the requests each backend answered."""
        cluster = h.cluster("c", [], load_assignment={
            "cluster_name": "c", "endpoints": localities, "policy": policy or {}})
        # Envoy's panic would give the unhealthy their part of the share.
        cluster["common_lb_config"] = {"healthy_panic_threshold": {"value": 0}, **common}
        port = h.free_port()
        self.proxy(kind, kind, h.bootstrap([h.listener(port, [h.all_to("c")])], [cluster])).ready()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self.addCleanup(connection.close)
        seen = collections.Counter()
        for _ in range(REQUESTS):
            connection.request("GET", "/who")
            seen[connection.getresponse().read().decode()] += 1
        return seen

    def nine_of_ten(self, factor):
        """For each proxy, the share of the one local endpoint of ten that is well."""
        well, far = self.backend("well"), self.backend("far")
        localities = [
            h.group([h.endpoint(well.port)] + [
                h.endpoint(h.free_port(), status="UNHEALTHY") for _ in range(9)]),
            h.group([h.endpoint(far.port)], priority=1)]
        shares = {}
        for kind in ("envoy", "meshproxy"):
            seen = self.shares(kind, localities, {"overprovisioning_factor": factor})
            self.assertEqual(seen["well"] + seen["far"], REQUESTS, seen)
            shares[kind] = seen["well"] / REQUESTS
        return shares

    def test_nine_of_ten(self):
        """Nine of ten local endpoints are unhealthy: 14 % stay"""
        for kind, share in self.nine_of_ten(140).items():
            # Four standard deviations of 2,000 draws are 3.1 %.
            self.assertAlmostEqual(share, 0.14, delta=0.031, msg=kind)

    def test_nine_of_ten_all(self):
        """The same with a factor that lets one endpoint carry all: all stay"""
        for kind, share in self.nine_of_ten(1000).items():
            self.assertEqual(share, 1, kind)

    def test_weights(self):
        """Endpoints of weights 1, 2 and 5, and localities of weights 1 and 3"""
        pods = [self.backend(name) for name in "abcd"]
        localities = [
            h.group([h.endpoint(pod.port, weight) for pod, weight in zip(pods, (1, 2, 5))],
                    zone="x", weight=3),
            h.group([h.endpoint(pods[3].port)], zone="y", weight=1)]
        for kind in ("envoy", "meshproxy"):
            seen = self.shares(kind, localities, locality_weighted_lb_config={})
            for name, share in zip("abcd", (3 / 32, 6 / 32, 15 / 32, 8 / 32)):
                self.assertAlmostEqual(
                    seen[name] / REQUESTS, share, delta=0.045, msg=f"{kind}: {seen}")


class Storm(h.Case):
    """A thousand requests fail at the same moment."""

    async def storm(self, port, backend):
        """The statuses that the clients got."""
        async def ask():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nhost: c\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            backend.answered()
            return int(head.split()[1])
        return collections.Counter(await asyncio.wait_for(
            asyncio.gather(*(ask() for _ in range(STORM))), 60))

    def retries(self, kind):
        """How many there were, by the backend's count, and what the clients got."""
        many = {"max_connections": 5000, "max_pending_requests": 5000, "max_requests": 5000,
                "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 3}}
        port = h.free_port()

        async def run():
            backend = Failing()
            await backend.start()
            clusters = [h.cluster("c", [backend.port], circuit_breakers={"thresholds": [many]})]
            hosts = [h.all_to("c", timeout="30s", retry_policy={
                "retry_on": "5xx", "num_retries": 1,
                "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.001s"}})]
            proxy = self.proxy(
                kind, kind, h.bootstrap([h.listener(port, hosts)], clusters))
            await asyncio.to_thread(proxy.ready)
            statuses = await self.storm(port, backend)
            backend.server.close()
            return backend.requests - STORM, statuses
        return asyncio.run(run())

    def test_budget(self):
        """A thousand failures at once and a budget of 20 %: 200 retries at the most, and some"""
        for kind in ("envoy", "meshproxy"):
            retries, statuses = self.retries(kind)
            self.assertLessEqual(retries, STORM // 5, kind)
            # Who is turned away leaves, and with him a part of the budget; how many have left when
            # the last asks is chance.
            self.assertGreater(retries, STORM // 10, kind)
            # Who was tried again was answered, and nobody else.
            self.assertEqual(statuses, {200: retries, 503: STORM - retries}, kind)


class Failing:
    """Fails the first requests all at once when the last of them is there. What comes after is kept
    waiting until as many have been told of the failure as no retry is left for."""

    def __init__(self):
        self.requests = self.told = 0
        self.first, self.later = asyncio.Event(), asyncio.Event()

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=2048)
        self.port = self.server.sockets[0].getsockname()[1]

    def answered(self):
        self.told += 1
        if self.told >= STORM * 4 // 5:
            self.later.set()

    async def serve(self, reader, writer):
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                number = self.requests
                if number == STORM:
                    self.first.set()
                await (self.first if number <= STORM else self.later).wait()
                status = b"503 No" if number <= STORM else b"200 OK"
                writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()
