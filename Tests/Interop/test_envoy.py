"""Beside Envoy: over mTLS in both directions, and from the same bootstrap file."""
import harness as h


class UpstreamAndDownstream(h.Case):
    def pair(self, outside, inside, expected=h.SHOP, identity="east-client", caller=h.CLIENT):
        """client → `outside` sidecar → mTLS, HTTP/2 → `inside` sidecar → backend."""
        backend = self.backend()
        inbound, outbound = h.free_port(), h.free_port()
        inner = self.proxy(inside, f"inbound-{inside}", h.bootstrap(
            [h.listener(inbound, [h.all_to("app")], tls=h.server_tls("east-shop", caller),
                        forward_client_cert_details="SANITIZE_SET",
                        set_current_client_cert_details={"uri": True})],
            [h.cluster("app", [backend.port])])).ready()
        self.proxy(outside, f"outbound-{outside}", h.bootstrap(
            [h.listener(outbound, [h.all_to("shop")])],
            [h.cluster("shop", [inbound], h2=True, tls=h.client_tls(identity, expected))])).ready()
        return outbound, inner, backend

    def exchanges(self, outbound, inner):
        for number in range(30):
            answer = h.get(outbound, f"/echo/{number}?q=1", host="shop.demo")
            self.assertEqual(answer.status, 200, answer.body)
            seen = answer.json()
            self.assertEqual((seen["path"], seen["host"]), (f"/echo/{number}?q=1", "shop.demo"))
        # The inner sidecar saw HTTP/2 from the right peer.
        self.assertIn(f"URI={h.CLIENT}", seen["headers"]["x-forwarded-client-cert"])
        body = b"z" * 1_000_000
        answer = h.request(outbound, "POST", "/echo", body=body)
        self.assertEqual((answer.status, answer.json()["length"]), (200, len(body)))
        answer = h.get(outbound, "/bytes/3000000")
        self.assertEqual((answer.status, len(answer.body)), (200, 3_000_000))
        answer = h.get(outbound, "/chunked/100000")
        self.assertEqual(answer.body, b"y" * 100_000)
        answer = h.request(outbound, "HEAD", "/bytes/1234")
        self.assertEqual((answer.status, answer.headers["content-length"]), (200, "1234"))
        if inner.kind == "envoy":
            self.assertGreaterEqual(inner.stat("http.in.downstream_cx_http2_total"), 1)

    def test_envoy_upstream(self):
        """Our client sidecar speaks mTLS and HTTP/2 with Envoy as the inbound sidecar"""
        outbound, inner, _ = self.pair("meshproxy", "envoy")
        self.exchanges(outbound, inner)

    def test_envoy_downstream(self):
        """Envoy as the client sidecar speaks mTLS and HTTP/2 with our inbound sidecar"""
        outbound, inner, _ = self.pair("envoy", "meshproxy")
        self.exchanges(outbound, inner)

    def test_wrong_server_name(self):
        """Our client sidecar sends nothing to an Envoy that bears another name"""
        outbound, _, backend = self.pair("meshproxy", "envoy", expected=h.STRANGER)
        self.assertEqual(h.get(outbound, "/who").status, 503)
        self.assertEqual(backend.requests, 0)

    def test_wrong_client_name(self):
        """Our inbound sidecar refuses an Envoy that bears another name"""
        outbound, _, backend = self.pair("envoy", "meshproxy", identity="east-stranger")
        self.assertEqual(h.get(outbound, "/who").status, 503)
        self.assertEqual(backend.requests, 0)

    def test_rogue_client(self):
        """Our inbound sidecar refuses the right name from a CA that it does not trust"""
        outbound, _, backend = self.pair("envoy", "meshproxy", identity="rogue-client")
        self.assertEqual(h.get(outbound, "/who").status, 503)
        self.assertEqual(backend.requests, 0)


def to(name, **action):
    return {"route": {"cluster": name, **action}}


def says(text, status=200):
    return {"direct_response": {"status": status, "body": {"inline_string": text}}}


RETRY = {"retry_on": "5xx", "num_retries": 2,
         "retry_back_off": {"base_interval": "0.01s", "max_interval": "0.05s"}}

ROUTES = [
    {"match": {"path": "/exact"}, **says("exact")},
    {"match": {"prefix": "/prefix/"}, **says("prefix")},
    {"match": {"path_separated_prefix": "/segment"}, **says("segment")},
    {"match": {"safe_regex": {"regex": "/re/[0-9]+/x?"}}, **says("regex")},
    {"match": {"prefix": "/case", "case_sensitive": False}, **says("any case")},
    {"match": {"prefix": "/header", "headers": [
        {"name": "x-user", "string_match": {"exact": "ann"}}]}, **says("exact header")},
    {"match": {"prefix": "/header", "headers": [
        {"name": "x-user", "string_match": {"prefix": "b"}}]}, **says("prefixed header")},
    {"match": {"prefix": "/header", "headers": [
        {"name": "x-number", "range_match": {"start": 10, "end": 20}}]}, **says("range")},
    {"match": {"prefix": "/header", "headers": [
        {"name": "x-there", "present_match": True}]}, **says("present")},
    {"match": {"prefix": "/header", "headers": [
        {"name": "x-user", "string_match": {"exact": "zoe"}, "invert_match": True}]},
        **says("not zoe")},
    {"match": {"prefix": "/header"}, **says("zoe")},
    {"match": {"prefix": "/method", "headers": [
        {"name": ":method", "string_match": {"exact": "POST"}}]}, **says("post")},
    {"match": {"prefix": "/method"}, **says("another method")},
    {"match": {"prefix": "/query", "query_parameters": [
        {"name": "v", "string_match": {"exact": "2"}}]}, **says("v2")},
    {"match": {"prefix": "/query", "query_parameters": [
        {"name": "debug", "present_match": True}]}, **says("debug")},
    {"match": {"prefix": "/query"}, **says("no query")},
    {"match": {"prefix": "/teapot"}, **says("short and stout", 418)},
    {"match": {"prefix": "/empty"}, "direct_response": {"status": 404}},
    {"match": {"prefix": "/redirect/host"}, "redirect": {"host_redirect": "other.test"}},
    {"match": {"prefix": "/redirect/path"},
     "redirect": {"path_redirect": "/new", "response_code": "FOUND"}},
    {"match": {"prefix": "/redirect/prefix"}, "redirect": {
        "prefix_rewrite": "/moved", "strip_query": True,
        "response_code": "PERMANENT_REDIRECT"}},
    {"match": {"prefix": "/redirect/https"}, "redirect": {"https_redirect": True}},
    {"match": {"prefix": "/redirect/port"}, "redirect": {"port_redirect": 8443}},
    {"match": {"prefix": "/rewrite/"}, **to("one", prefix_rewrite="/echo/")},
    {"match": {"prefix": "/re-rewrite/"}, **to("one", regex_rewrite={
        "pattern": {"regex": "^/re-rewrite/([a-z]+)/(.*)$"}, "substitution": "/echo/\\2/\\1"})},
    {"match": {"prefix": "/host/"}, **to("one", host_rewrite_literal="inner.test")},
    {"match": {"prefix": "/added"}, **to("one"),
     "request_headers_to_add": [{"header": {"key": "x-added", "value": "one"}}],
     "request_headers_to_remove": ["x-secret"]},
    {"match": {"prefix": "/weighted"}, "route": {"weighted_clusters": {"clusters": [
        {"name": "one", "weight": 80}, {"name": "two", "weight": 20}]}, "prefix_rewrite": "/who"}},
    {"match": {"prefix": "/late-try"}, **to("one", prefix_rewrite="/slow/2000", timeout="3s",
        retry_policy={"retry_on": "5xx", "num_retries": 1, "per_try_timeout": "0.2s"})},
    {"match": {"prefix": "/late"}, **to("one", prefix_rewrite="/slow/2000", timeout="0.25s")},
    {"match": {"prefix": "/flaky"}, **to("one", retry_policy=RETRY)},
    {"match": {"prefix": "/no-endpoint"}, **to("empty")},
    {"match": {"prefix": "/nobody-there"}, **to("refused")},
    {"match": {"prefix": "/by-header"}, "route": {"cluster_header": "x-cluster"}},
    {"match": {"prefix": "/"}, **to("one")},
]
# (method, path, Host, headers)
TABLE = [
    ("GET", "/exact", "a.test", {}), ("GET", "/exact?q", "a.test", {}),
    ("GET", "/exactly", "a.test", {}), ("GET", "/prefix/x", "a.test", {}),
    ("GET", "/prefix", "a.test", {}), ("GET", "/segment", "a.test", {}),
    ("GET", "/segment/x", "a.test", {}), ("GET", "/segments", "a.test", {}),
    ("GET", "/re/12/", "a.test", {}), ("GET", "/re/12/x?y=1", "a.test", {}),
    ("GET", "/re/12/xy", "a.test", {}), ("GET", "/CASE/x", "a.test", {}),
    ("GET", "/header", "a.test", {"x-user": "ann"}), ("GET", "/header", "a.test", {"X-User": "bob"}),
    ("GET", "/header", "a.test", {"x-user": "zoe"}), ("GET", "/header", "a.test", {"x-number": "10"}),
    ("GET", "/header", "a.test", {"x-number": "20"}),
    ("GET", "/header", "a.test", {"x-number": "ten", "x-user": "zoe"}),
    ("GET", "/header", "a.test", {"x-there": ""}), ("GET", "/header", "a.test", {}),
    ("POST", "/method", "a.test", {}), ("GET", "/method", "a.test", {}),
    ("GET", "/query?v=2", "a.test", {}), ("GET", "/query?a=1&v=2&b", "a.test", {}),
    ("GET", "/query?v=22", "a.test", {}), ("GET", "/query?debug", "a.test", {}),
    ("GET", "/query?debug=", "a.test", {}), ("GET", "/query", "a.test", {}),
    ("GET", "/teapot", "a.test", {}), ("GET", "/empty", "a.test", {}),
    ("HEAD", "/teapot", "a.test", {}),
    ("GET", "/redirect/host?x=1", "a.test", {}), ("GET", "/redirect/path", "a.test", {}),
    ("GET", "/redirect/prefix/y?x=1", "a.test", {}), ("GET", "/redirect/https/z", "a.test", {}),
    ("GET", "/redirect/port", "a.test:80", {}),
    ("GET", "/rewrite/x?y=1", "a.test", {}), ("GET", "/re-rewrite/abc/def?q=1", "a.test", {}),
    ("GET", "/host/x", "a.test", {}), ("GET", "/added", "a.test", {"x-secret": "s"}),
    ("GET", "/late", "a.test", {}), ("GET", "/late-try", "a.test", {}),
    ("GET", "/flaky/1/{run}-a", "a.test", {}), ("GET", "/flaky/2/{run}-b", "a.test", {}),
    ("GET", "/flaky/3/{run}-c", "a.test", {}),
    ("GET", "/no-endpoint", "a.test", {}),
    ("GET", "/by-header", "a.test", {"x-cluster": "two"}),
    ("GET", "/by-header", "a.test", {"x-cluster": "none"}), ("GET", "/by-header", "a.test", {}),
    ("GET", "/status/500", "a.test", {}), ("GET", "/status/204", "a.test", {}),
    ("HEAD", "/bytes/77", "a.test", {}), ("DELETE", "/echo", "a.test", {}),
    # Virtual hosts.
    ("GET", "/", "b.test", {}), ("GET", "/", "B.Test", {}), ("GET", "/", "b.test:8080", {}),
    ("GET", "/", "x.wild.test", {}), ("GET", "/", "y.x.wild.test", {}),
    ("GET", "/", "deep.x.wild.test", {}), ("GET", "/", "wild.test", {}),
    ("GET", "/", "wild.org", {}), ("GET", "/", "nowhere.example", {}),
]


class SameBootstrap(h.Case):
    """Each starts from the same file and answers the same requests."""

    def setUp(self):
        super().setUp()
        self.one, self.two = self.backend("one"), self.backend("two")
        self.port = h.free_port()
        host = lambda name, domains: {
            "name": name, "domains": domains,
            "routes": [{"match": {"prefix": "/"}, **says(name)}]}
        hosts = [
            {"name": "a", "domains": ["a.test", "a.test:80"], "routes": ROUTES},
            host("b", ["b.test"]), host("suffix", ["*.wild.test"]),
            host("longer suffix", ["*.x.wild.test"]), host("prefix", ["wild.*"]),
        ]
        self.config = h.bootstrap(
            [h.listener(self.port, hosts)],
            [h.cluster("one", [self.one.port]), h.cluster("two", [self.two.port]),
             h.cluster("empty", []), h.cluster("refused", [h.free_port()])])

    def answers(self, kind):
        proxy = self.proxy(kind, kind, self.config).ready()
        table = []
        for method, path, host, headers in TABLE:
            answer = h.request(self.port, method, path.format(run=kind), headers=headers, host=host)
            body = answer.body.decode(errors="replace").replace(kind + "-", "")
            if body.startswith("{"):
                echo = answer.json()
                body = {k: echo[k] for k in ("backend", "method", "path", "host", "length")}
                body["path"] = body["path"].replace(kind + "-", "")
                body["x-added"] = echo["headers"].get("x-added")
                body["x-secret"] = echo["headers"].get("x-secret")
            table.append((answer.status, body, answer.headers.get("location")))
        shares = [h.get(self.port, "/weighted", host="a.test").body for _ in range(300)]
        refused = h.get(self.port, "/nobody-there", host="a.test").status
        proxy.stop()
        return table, shares.count(b"one") / len(shares), refused

    def test_alike(self):
        """Envoy and we start from the same bootstrap file and answer alike"""
        envoys, envoy_share, envoy_refused = self.answers("envoy")
        ours, our_share, our_refused = self.answers("meshproxy")
        for case, theirs, mine in zip(TABLE, envoys, ours):
            with self.subTest(f"{case[0]} {case[1]} of {case[2]} with {case[3]}"):
                self.assertEqual(mine, theirs)
        self.assertAlmostEqual(envoy_share, 0.8, delta=0.1)
        self.assertAlmostEqual(our_share, 0.8, delta=0.1)
        self.assertEqual(our_refused, envoy_refused)
