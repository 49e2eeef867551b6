"""Consistent hashing beside Envoy: from the same file, both send each key to the same endpoint."""
import collections
import http.client
import re

import harness as h

BACKENDS = 7
KEYS = 200
LB = h.TYPE + "load_balancing_policies."


def typed(name, message, **fields):
    return {"load_balancing_policy": {"policies": [
        {"typed_extension_config": {"name": name, "typed_config": {
            "@type": LB + message, **fields}}}]}}


class Hashing(h.Case):
    def setUp(self):
        super().setUp()
        self.backends = [self.backend(f"b{number}") for number in range(BACKENDS)]
        self.ports = [backend.port for backend in self.backends]

    def both(self, clusters, policies):
        """Envoy and MeshProxy with a virtual host for each cluster; (connection, connection)."""
        hosts = [{"name": name, "domains": [name], "routes": [{
            "match": {"prefix": "/"}, "route": {"cluster": name, "hash_policy": policies[name]}}]}
            for name in policies]
        connections = []
        for kind in ("envoy", "meshproxy"):
            port = h.free_port()
            self.proxy(kind, kind, h.bootstrap([h.listener(port, hosts)], clusters)).ready()
            connections.append(http.client.HTTPConnection("127.0.0.1", port, timeout=10))
            self.addCleanup(connections[-1].close)
        return connections

    def ask(self, connection, host, path="/who", headers=()):
        connection.putrequest("GET", path, skip_host=True)
        connection.putheader("Host", host)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.read().decode(), answer

    def same(self, connections, host, headers, least=2):
        """Every list of headers leads to the same backend through both, and they to many."""
        seen = collections.Counter()
        for number, some in enumerate(headers):
            path = f"/who?user=u{number}&n={number % 3}"
            envoy, ours = (self.ask(c, host, path, some)[0] for c in connections)
            self.assertEqual(ours, envoy, f"{host}: {some}")
            seen[ours] += 1
        self.assertGreaterEqual(len(seen), least, seen)
        return seen

    def cluster(self, name, groups, **more):
        made = h.cluster(name, [], **more)
        if "named" in name:
            # Envoy hashes by hostname only in clusters of names.
            made["type"] = "STRICT_DNS"
        made["load_assignment"]["endpoints"] = groups
        return made

    def same_endpoint(self, clusters):
        """For each of these clusters both send every key to the same backend."""
        names = [cluster["name"] for cluster in clusters]
        connections = self.both(
            clusters, {name: [{"header": {"header_name": "x-key"}}] for name in names})
        keys = [[("x-key", f"user-{number * 7919}")] for number in range(KEYS)]
        for name in names:
            with self.subTest(name):
                self.same(connections, name, keys, least=4)

    def hosts(self):
        """(equal, unequal) endpoint groups of all backends"""
        weights = [1, 2, 3, 5, 8, 13, 1]
        return ([h.group([h.endpoint(p) for p in self.ports])],
                [h.group([h.endpoint(p, w) for p, w in zip(self.ports, weights)])])

    def special(self, kind, policy):
        """Clusters of zones, of a half healthy priority and of hashed hostnames"""
        ports = self.ports
        zones = [h.group([h.endpoint(ports[0]), h.endpoint(ports[1], 3)], "b", 1),
                 h.group([h.endpoint(p) for p in ports[2:4]], "a", 5),
                 h.group([h.endpoint(p, status="UNHEALTHY") for p in ports[4:5]], "c", 2)]
        half = [h.group([h.endpoint(p, status="UNHEALTHY" if i % 2 else "HEALTHY")
                       for i, p in enumerate(ports[:4])]),
                h.group([h.endpoint(p) for p in ports[4:]], priority=1)]
        named = [h.group([h.endpoint(p, hostname=f"pod-{i}.svc") for i, p in enumerate(ports)])]
        return [
            self.cluster(kind + "-zones", zones, lb_policy=policy,
                         common_lb_config={"locality_weighted_lb_config": {}}),
            self.cluster(kind + "-half", half, lb_policy=policy),
            self.cluster(kind + "-named", named, lb_policy=policy, common_lb_config={
                "consistent_hashing_lb_config": {"use_hostname_for_hashing": True}}),
        ]

    def test_ring(self):
        """Rings of equal and unequal hosts"""
        equal, unequal = self.hosts()
        self.same_endpoint([
            self.cluster("ring-equal", equal, lb_policy="RING_HASH"),
            self.cluster("ring-unequal", unequal, lb_policy="RING_HASH"),
            self.cluster("ring-murmur", unequal, lb_policy="RING_HASH", ring_hash_lb_config={
                "hash_function": "MURMUR_HASH_2", "minimum_ring_size": 64,
                "maximum_ring_size": 100}),
            self.cluster("ring-typed", unequal, **typed(
                "envoy.load_balancing_policies.ring_hash", "ring_hash.v3.RingHash",
                minimum_ring_size=300, hash_function="XX_HASH")),
        ])

    def test_ring_special(self):
        """Rings of zones, half healthy priorities, hostnames and keys in metadata"""
        keyed = [h.group([h.endpoint(p, key=f"shard-{i}") for i, p in enumerate(self.ports)])]
        self.same_endpoint(self.special("ring", "RING_HASH") + [
            self.cluster("ring-keyed", keyed, lb_policy="RING_HASH")])

    def test_maglev(self):
        """Maglev tables of equal and unequal hosts"""
        equal, unequal = self.hosts()
        self.same_endpoint([
            self.cluster("maglev-equal", equal, lb_policy="MAGLEV"),
            self.cluster("maglev-unequal", unequal, lb_policy="MAGLEV"),
            self.cluster("maglev-small", unequal, lb_policy="MAGLEV",
                         maglev_lb_config={"table_size": 251}),
            self.cluster("maglev-typed", equal, **typed(
                "envoy.load_balancing_policies.maglev", "maglev.v3.Maglev", table_size=1009)),
        ])

    def test_maglev_special(self):
        """Maglev tables of zones, half healthy priorities and hostnames"""
        self.same_endpoint(self.special("maglev", "MAGLEV"))

    def test_key_combined(self):
        """Headers, cookies and parameters combine to the same key"""
        header = {"header": {"header_name": "x-key"}}
        cookie = {"cookie": {"name": "session"}}
        parameter = {"query_parameter": {"name": "user"}}
        self.same_key({
            "cookie": [cookie], "pair": [header, parameter],
            "three": [header, cookie, parameter],
            "terminal": [{**cookie, "terminal": True}, parameter],
        })

    def test_key_single(self):
        """A parameter, an address, a path and a rewritten header come to the same key"""
        self.same_key({
            "parameter": [{"query_parameter": {"name": "user"}}],
            "address": [{"connection_properties": {"source_ip": True}}],
            "path": [{"header": {"header_name": ":path"}}],
            "rewritten": [{"header": {"header_name": "x-key", "regex_rewrite": {
                "pattern": {"regex": "[0-9]([0-9]*)"}, "substitution": "\\1-"}}}],
        })

    def same_key(self, policies):
        equal = [h.group([h.endpoint(p) for p in self.ports])]
        clusters = [self.cluster(name, equal, lb_policy="MAGLEV") for name in policies]
        connections = self.both(clusters, policies)
        for name in policies:
            headers = []
            for number in range(120):
                some = [("x-key", f"k{number}")]
                if number % 2:
                    some.append(("Cookie", f"a=b; session=s{number}; session=other"))
                if number % 3 == 0:
                    some.append(("x-key", f"a{number}"))
                if number % 5 == 0:
                    some.append(("Cookie", f'session="q{number}"'))
                headers.append(some)
            if name == "cookie":
                headers = [some for some in headers if some[-1][0] == "Cookie"]
            with self.subTest(name):
                self.same(connections, name, headers, least=1 if name == "address" else 4)

    def test_cookie(self):
        """A cookie is made up, and whoever keeps it stays"""
        equal = [h.group([h.endpoint(p) for p in self.ports])]
        cookie = {"name": "session", "ttl": "3600s", "path": "/shop",
                  "attributes": [{"name": "SameSite", "value": "Lax"}, {"name": "Secure"}]}
        connections = self.both(
            [self.cluster("c", equal, lb_policy="RING_HASH")], {"c": [{"cookie": cookie}]})
        forms = []
        for connection in connections:
            first, answer = self.ask(connection, "c")
            text = answer.headers["set-cookie"]
            value = re.search(r'session="([0-9a-f]{16})"', text)[1]
            forms.append(text.replace(value, "VALUE"))
            for _ in range(5):
                again, answer = self.ask(connection, "c", headers=[("Cookie", f"session={value}")])
                self.assertEqual(again, first)
                self.assertIsNone(answer.headers["set-cookie"])
            # Both send a cookie that one of them made to the same endpoint.
            self.same(connections, "c", [[("Cookie", f"session={value}")]], least=1)
        self.assertEqual(forms[0], forms[1])
