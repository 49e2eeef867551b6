"""A control plane that nobody here wrote: grpcio and xds-protos, state of the world and delta."""
import json
import os

import control_plane as cp
import harness as h


def listener(port):
    return h.listener(port, rds="routes", name="front")


def routes(to="app", *more):
    return {"name": "routes", "virtual_hosts": [*more, h.all_to(to)]}


def sds(name):
    return {"name": name, "sds_config": {"resource_api_version": "V3", "ads": {}}}


def certificate(identity):
    return {"name": "workload", "tls_certificate": {
        "certificate_chain": {"inline_string": open(h.pem(identity)).read()},
        "private_key": {"inline_string": open(h.key(identity)).read()}}}


def trust():
    return {"name": "trust", "validation_context": {
        "trusted_ca": {"inline_string": open(h.pem("east-ca")).read()}}}


class Streams:
    """The same stories for both variants of the protocol."""
    delta = False

    def begin(self, **resources):
        """A control plane with one cluster of one backend, and a proxy that knows it only."""
        self.a, self.b = self.backend("a"), self.backend("b")
        self.port = h.free_port()
        self.server = self.control_plane("one", **resources)
        self.proxied = self.meshproxy(h.bootstrap(
            control_planes=[self.server.port], delta=self.delta))
        self.reaches("a")

    def control_plane(self, identifier, backend=None, **resources):
        server = cp.ControlPlane(h.free_port(), identifier)
        server.set(**{
            "clusters": [h.eds_cluster("app")],
            "endpoints": [h.assignment("app", [(backend or self.a).port])],
            "listeners": [listener(self.port)], "routes": [routes()], **resources})
        server.start()
        self.addCleanup(server.stop)
        return server

    def who(self):
        """Who answers now; None when nobody does."""
        try:
            answer = h.get(self.port, "/who", timeout=2)
            return answer.body.decode() if answer.status == 200 else None
        except OSError:
            return None

    def reaches(self, name, seconds=15):
        h.wait(lambda: self.proxied.running and self.who() == name, seconds,
               f"requests reached {name}")

    def load(self):
        load = h.Load(self.port)
        self.addCleanup(load.stop)
        h.wait(lambda: load.requests > 5, 5, "traffic flowed")
        return load

    def undisturbed(self, load):
        h.wait(lambda: load.requests > 20, 5, "some requests came after the change")
        load.stop()
        self.assertEqual(load.failures, [])
        self.assertTrue(self.proxied.running)

    def accepted(self, url):
        return h.wait(lambda: any(u == url for u, _ in self.server.acknowledged), 5,
                      f"{url} was acknowledged")

    def test_first_configuration(self):
        """Listeners, routes, clusters and endpoints are asked for, served and acknowledged"""
        self.begin()
        for url in (cp.CLUSTER, cp.ENDPOINTS, cp.LISTENER, cp.ROUTES):
            self.accepted(url)
        self.assertEqual(self.server.refused, [])
        with self.server.lock:
            first = self.server.requests[0]
        self.assertEqual((first.node.id, first.node.cluster), ("interop", "interop"))
        self.assertEqual(first.type_url, cp.CLUSTER)
        self.assertEqual(self.server.opened, 1)

    def test_endpoints_move_traffic(self):
        """An update of endpoints moves traffic without a lost request"""
        self.begin()
        load = self.load()
        self.server.set(endpoints=[h.assignment("app", [self.b.port])])
        h.wait(lambda: load.seen() == {"b"}, 5, "traffic moved")
        self.server.set(endpoints=[h.assignment("app", [self.a.port, self.b.port])])
        h.wait(lambda: load.seen() == {"a", "b"}, 5, "traffic spread")
        self.undisturbed(load)

    def test_routes_move_traffic(self):
        """A route to a new cluster is used once the cluster and its endpoints are there"""
        self.begin()
        load = self.load()
        self.server.set(
            clusters=[h.eds_cluster("app"), h.eds_cluster("other")],
            endpoints=[h.assignment("app", [self.a.port]), h.assignment("other", [self.b.port])],
            routes=[routes("other")])
        h.wait(lambda: load.seen() == {"b"}, 10, "traffic moved")
        self.undisturbed(load)

    def test_removed_listener(self):
        """A listener that is taken away stops listening; a new one opens"""
        self.begin()
        other = h.free_port()
        moved = listener(other)
        moved["name"] = "elsewhere"
        self.server.set(listeners=[moved])
        h.wait(lambda: h.status_of(other, "/who") == 200, 10, "the new listener answered")
        h.wait(lambda: not h.listens(self.port), 10, "the old listener closed")

    def test_one_bad_cluster(self):
        """One bad cluster among good ones: the good ones apply, the bad one is refused by name"""
        self.begin()
        load = self.load()
        bad = h.cluster("broken", [self.b.port])
        bad["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"][
            "socket_address"]["address"] = "not an address"
        header = {"match": {"prefix": "/", "headers": [
            {"name": "x-new", "present_match": True}]}, "route": {"cluster": "new"}}
        both = routes()
        both["virtual_hosts"][0]["routes"].insert(0, header)
        self.server.set(
            clusters=[h.eds_cluster("app"), bad, h.cluster("new", [self.b.port])], routes=[both])
        h.wait(lambda: self.server.refused, 5, "the control plane saw the refusal")
        url, _, text = self.server.refused[0]
        self.assertEqual(url, cp.CLUSTER)
        self.assertIn("broken", text)
        h.wait(lambda: h.get(self.port, "/who", headers={"x-new": "1"}).body == b"b", 5,
               "the good new cluster was used")
        acknowledged = lambda: sum(url == cp.CLUSTER for url, _ in self.server.acknowledged)
        before, count = acknowledged(), len(self.server.refused)
        self.server.set(clusters=[h.eds_cluster("app"), h.cluster("broken", [self.b.port]),
                                  h.cluster("new", [self.b.port])])
        h.wait(lambda: acknowledged() > before, 5, "the mended cluster was acknowledged")
        self.assertEqual(len(self.server.refused), count)
        self.undisturbed(load)

    def test_stream_reset(self):
        """A stream that is reset is opened again, and is never read as deletion"""
        self.begin()
        load = self.load()
        for _ in range(3):
            opened = self.server.opened
            self.server.reset_streams()
            h.wait(lambda: self.server.opened > opened and self.server.connected(), 10,
                   "the proxy came back")
        self.server.set(endpoints=[h.assignment("app", [self.b.port])])
        h.wait(lambda: load.seen() == {"b"}, 10, "an update arrived over the new stream")
        if self.delta:
            with self.server.lock:
                again = [r for r in self.server.requests if r.initial_resource_versions]
            self.assertTrue(again, "the proxy told what it holds")
        self.undisturbed(load)

    def test_garbage(self):
        """A message that is no protobuf ends the stream at most; traffic and later updates go on"""
        self.begin()
        load = self.load()
        self.server.send_garbage()
        h.wait(self.server.connected, 10, "the proxy came back")
        # Sent again and again: a stream may end under the first.
        def moved():
            self.server.set(endpoints=[h.assignment("app", [self.b.port])])
            return load.seen() == {"b"}
        h.wait(moved, 15, "an update arrived")
        self.undisturbed(load)

    def test_away_and_back(self):
        """The control plane goes away and comes back with news; nothing is lost meanwhile"""
        self.begin()
        load = self.load()
        self.server.stop()
        before = load.requests
        h.wait(lambda: load.requests > before + 100, 10, "traffic flowed without a control plane")
        self.assertEqual(load.seen(), {"a"})
        self.server.set(endpoints=[h.assignment("app", [self.b.port])])
        self.server.start()
        h.wait(lambda: load.seen() == {"b"}, 30, "the news arrived")
        self.undisturbed(load)

    def test_starts_before_its_control_plane(self):
        """A proxy that starts first is served when the control plane appears"""
        self.a, self.b = self.backend("a"), self.backend("b")
        self.port = h.free_port()
        port = h.free_port()
        self.proxied = self.meshproxy(h.bootstrap(control_planes=[port], delta=self.delta))
        h.wait(lambda: h.listens(self.proxied.admin), 10, "the admin port answered")
        server = cp.ControlPlane(port)
        server.set(clusters=[h.eds_cluster("app")],
                   endpoints=[h.assignment("app", [self.a.port])],
                   listeners=[listener(self.port)], routes=[routes()])
        server.start()
        self.addCleanup(server.stop)
        self.reaches("a", 30)

    def test_secrets(self):
        """Certificates come over SDS, and a new one is used without a lost request"""
        secure = self.backend("secure", tls="east-shop")
        self.a = self.b = secure
        socket = {"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": h.TYPE + "transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "shop.demo.east.mesh",
            "common_tls_context": {
                "alpn_protocols": ["http/1.1"],
                "tls_certificate_sds_secret_configs": [sds("workload")],
                "combined_validation_context": {
                    "default_validation_context": {
                        "match_typed_subject_alt_names": h.uri(h.SHOP)},
                    "validation_context_sds_secret_config": sds("trust")}}}}
        self.port = h.free_port()
        self.server = self.control_plane(
            "one", clusters=[h.eds_cluster("app", tls=socket)],
            secrets=[certificate("east-client"), trust()])
        self.proxied = self.meshproxy(h.bootstrap(
            control_planes=[self.server.port], delta=self.delta))
        self.reaches("secure")
        load = self.load()
        peer = lambda: h.get(self.port, "/peer").body.decode()
        h.wait(lambda: peer() == h.CLIENT, 5, "the backend saw the first identity")
        self.server.set(secrets=[certificate("east-stranger"), trust()])
        h.wait(lambda: peer() == h.STRANGER, 10, "the backend saw the second identity")
        self.undisturbed(load)

    def test_two_control_planes(self):
        """The second control plane takes over, the first is returned to; nothing is lost"""
        self.a, self.b = self.backend("a"), self.backend("b")
        self.port = h.free_port()
        first = self.server = self.control_plane("one", self.a)
        second = self.control_plane("two", self.b)
        self.proxied = self.meshproxy(h.bootstrap(
            control_planes=[first.port, second.port], delta=self.delta))
        self.reaches("a")
        load = self.load()
        first.stop()
        h.wait(lambda: load.seen() == {"b"}, 15, "the second one's endpoints were used")
        first.start()
        h.wait(lambda: load.seen() == {"a"}, 30, "the first one was returned to")
        self.undisturbed(load)


class StateOfTheWorld(Streams, h.Case):
    """SotW"""


class Delta(Streams, h.Case):
    """Delta"""
    delta = True


class Embedded(h.Case):
    def test_serves_files(self):
        """Our own control plane serves Envoy and us from a directory, and sees it change"""
        a, b = self.backend("a"), self.backend("b")
        served = os.path.join(self.directory, "served")
        os.mkdir(served)

        def write(name, url, resource):
            path = os.path.join(served, name)
            with open(path + ".new", "w") as file:
                json.dump({"resources": [{"@type": url, **resource}]}, file)
            os.rename(path + ".new", path + ".yaml")

        ports = {"meshproxy": h.free_port(), "envoy": h.free_port()}
        front = {kind: {**listener(port), "name": kind} for kind, port in ports.items()}
        write("clusters", cp.CLUSTER, h.eds_cluster("app"))
        write("endpoints", cp.ENDPOINTS, h.assignment("app", [a.port]))
        write("routes", cp.ROUTES, routes())
        plane = h.free_port()
        self.process("control-plane", [
            h.MESHPROXY, "control-plane", "--dir", served, "--listen", f"127.0.0.1:{plane}"])
        h.wait(lambda: h.listens(plane), 10, "the control plane listens")
        for delta in (False, True):
            for kind in ("envoy", "meshproxy"):
                with self.subTest(f"{kind}, {'delta' if delta else 'state of the world'}"):
                    write("listeners", cp.LISTENER, front[kind])
                    write("endpoints", cp.ENDPOINTS, h.assignment("app", [a.port]))
                    proxied = self.proxy(kind, f"{kind}-{delta}", h.bootstrap(
                        control_planes=[plane], delta=delta))
                    who = lambda: h.status_of(ports[kind]) == 200 and h.get(
                        ports[kind], "/who").body
                    h.wait(lambda: who() == b"a", 15, "the first endpoints were used")
                    write("endpoints", cp.ENDPOINTS, h.assignment("app", [b.port]))
                    h.wait(lambda: who() == b"b", 10, "the changed file was seen")
                    proxied.kill()
