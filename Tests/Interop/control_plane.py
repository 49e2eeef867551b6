"""A control plane on grpcio and xds-protos: ADS, state of the world and delta, and its misdeeds.

It serves messages that tests hand to it, records what the proxy says, and can do on demand what
control planes do on bad days: end every stream, send garbage, vanish and come back.
"""
import hashlib
import queue
import threading
from concurrent import futures

import grpc
from google.protobuf import any_pb2, json_format
from envoy.service.discovery.v3 import discovery_pb2

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2  # noqa: F401
# Named inside Any: importing them is what makes them known.
from envoy.extensions.access_loggers.file.v3 import file_pb2  # noqa: F401
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import (  # noqa: F401
    http_connection_manager_pb2)
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2  # noqa: F401
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401

PREFIX = "type.googleapis.com/"
CLUSTER = PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINTS = PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = PREFIX + "envoy.config.listener.v3.Listener"
ROUTES = PREFIX + "envoy.config.route.v3.RouteConfiguration"
SECRET = PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
MESSAGES = {
    CLUSTER: cluster_pb2.Cluster, ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    LISTENER: listener_pb2.Listener, ROUTES: route_pb2.RouteConfiguration,
    SECRET: secret_pb2.Secret,
}
# Make before break: what is named is sent before what names it.
ORDER = [SECRET, CLUSTER, ENDPOINTS, LISTENER, ROUTES]
WILDCARD = (CLUSTER, LISTENER)


def message(type_url, resource):
    """A protobuf message from a dictionary in protobuf's JSON form."""
    return json_format.ParseDict(resource, MESSAGES[type_url]())


def name_of(type_url, resource):
    return resource.cluster_name if type_url == ENDPOINTS else resource.name


def version_of(resource):
    return hashlib.sha256(resource.SerializeToString(deterministic=True)).hexdigest()[:12]


def packed(resource):
    wrapped = any_pb2.Any()
    wrapped.Pack(resource)
    return wrapped


class Subscription:
    """What one stream asked for of one type."""

    def __init__(self):
        self.names = set()
        self.wildcard = False
        self.nonce = ""
        # Name → version, as last sent.
        self.sent = {}


class Stream:
    def __init__(self, delta):
        self.delta = delta
        self.events = queue.Queue()
        self.subscriptions = {}
        self.counter = 0


class ControlPlane:
    def __init__(self, port, identifier="control-plane"):
        self.port = port
        self.identifier = identifier
        self.lock = threading.Lock()
        # Type → name → message.
        self.resources = {t: {} for t in ORDER}
        self.version = 0
        self.streams = []
        # Requests that were answers: (type, nonce), and (type, nonce, text) for refusals.
        self.acknowledged = []
        self.refused = []
        self.requests = []
        self.opened = 0
        self.server = None

    # Its life.
    def start(self):
        raw = lambda reply: reply if isinstance(reply, bytes) else reply.SerializeToString()
        service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
        self.server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=32), options=[("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                lambda requests, context: self._serve(requests, context, delta=False),
                discovery_pb2.DiscoveryRequest.FromString, raw),
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(
                lambda requests, context: self._serve(requests, context, delta=True),
                discovery_pb2.DeltaDiscoveryRequest.FromString, raw),
        }),))
        if self.server.add_insecure_port(f"127.0.0.1:{self.port}") == 0:
            raise OSError(f"port {self.port} can't be had")
        self.server.start()
        return self

    def stop(self):
        if self.server:
            self._tell_all(("end", None))
            self.server.stop(0).wait(5)
            self.server = None

    # What tests say to it.
    def set(self, **kinds):
        """Replaces all resources of the kinds given (clusters=[...], endpoints=[...], ...)."""
        types = {"clusters": CLUSTER, "endpoints": ENDPOINTS, "listeners": LISTENER,
                 "routes": ROUTES, "secrets": SECRET}
        changed = []
        with self.lock:
            self.version += 1
            for kind, resources in kinds.items():
                url = types[kind]
                made = [message(url, r) if isinstance(r, dict) else r for r in resources]
                self.resources[url] = {name_of(url, m): m for m in made}
                changed.append(url)
        for url in ORDER:
            if url in changed:
                self._tell_all(("changed", url))

    def reset_streams(self):
        self._tell_all(("reset", None))

    def send_garbage(self):
        self._tell_all(("raw", b"\xff\xff\xff\xff this is no protobuf \x00\x01"))

    def connected(self):
        with self.lock:
            return len(self.streams)

    def _tell_all(self, event):
        with self.lock:
            for stream in self.streams:
                stream.events.put(event)

    # One stream.
    def _serve(self, requests, context, delta):
        stream = Stream(delta)
        with self.lock:
            self.streams.append(stream)
            self.opened += 1

        def read():
            try:
                for request in requests:
                    stream.events.put(("request", request))
            except Exception:
                pass
            stream.events.put(("end", None))

        threading.Thread(target=read, daemon=True).start()
        try:
            while True:
                event, value = stream.events.get()
                if event == "end":
                    return
                if event == "reset":
                    context.abort(grpc.StatusCode.UNAVAILABLE, "the control plane has a bad day")
                if event == "raw":
                    yield value
                    continue
                with self.lock:
                    if event == "request":
                        url, reply = value.type_url, self._requested(stream, value)
                    else:
                        url = value
                        reply = self._reply(stream, url, stream.subscriptions.get(url), forced=False)
                if reply is not None:
                    yield reply
        finally:
            with self.lock:
                if stream in self.streams:
                    self.streams.remove(stream)

    def _requested(self, stream, request):
        url = request.type_url
        self.requests.append(request)
        known = url in stream.subscriptions
        subscription = stream.subscriptions.setdefault(url, Subscription())
        if request.response_nonce:
            if request.response_nonce != subscription.nonce:
                if not stream.delta:
                    return None
            elif request.HasField("error_detail"):
                self.refused.append((url, request.response_nonce, request.error_detail.message))
            else:
                self.acknowledged.append((url, request.response_nonce))
        if stream.delta:
            if not known:
                subscription.wildcard = url in WILDCARD and not request.resource_names_subscribe
                subscription.sent = dict(request.initial_resource_versions)
            asked = set(request.resource_names_subscribe)
            if "*" in asked:
                subscription.wildcard = True
                asked.discard("*")
            subscription.names |= asked
            for name in request.resource_names_unsubscribe:
                subscription.names.discard(name)
                subscription.sent.pop(name, None)
            for name in asked:
                subscription.sent.pop(name, None)
            if asked or not known:
                return self._reply(stream, url, subscription, forced=subscription.wildcard)
            return None
        names = set(request.resource_names)
        first = not known or not request.response_nonce
        changed = first or names != subscription.names
        subscription.names = names
        subscription.wildcard = url in WILDCARD and not names
        return self._reply(stream, url, subscription, forced=True) if changed else None

    def _reply(self, stream, url, subscription, forced):
        """What the stream has yet to hear of a type; None when there is nothing to say."""
        if subscription is None:
            return None
        held = {name: m for name, m in self.resources.get(url, {}).items()
                if subscription.wildcard or name in subscription.names}
        versions = {name: version_of(m) for name, m in held.items()}
        if stream.delta:
            fresh = [n for n, v in versions.items() if subscription.sent.get(n) != v]
            gone = [n for n in subscription.sent if n not in versions]
            if not fresh and not gone and not (forced and not subscription.nonce):
                return None
        else:
            if not held and url not in WILDCARD:
                return None
            if not forced and versions == subscription.sent:
                return None
        stream.counter += 1
        subscription.nonce = f"{self.identifier}-{stream.counter}"
        subscription.sent = versions
        if stream.delta:
            reply = discovery_pb2.DeltaDiscoveryResponse(
                type_url=url, nonce=subscription.nonce, system_version_info=str(self.version),
                removed_resources=gone,
                resources=[discovery_pb2.Resource(name=n, version=versions[n], resource=packed(held[n]))
                           for n in fresh])
        else:
            reply = discovery_pb2.DiscoveryResponse(
                type_url=url, nonce=subscription.nonce, version_info=str(self.version),
                resources=[packed(m) for m in held.values()])
        reply.control_plane.identifier = self.identifier
        return reply
