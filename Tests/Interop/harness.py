"""What the interop tests are made of: processes, ports, backends, and Envoy v3 configurations as
dictionaries (JSON is YAML, so the same file serves Envoy and MeshProxy)."""
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sysconfig
import tempfile
import threading
import time
import unittest

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MESHPROXY = os.environ.get("MESHPROXY", "")
ENVOY = os.path.join(sysconfig.get_paths()["purelib"], "envoy", "_bin", "envoy")
TYPE = "type.googleapis.com/envoy.extensions."

# Certificates for all tests; made once by `main.py`.
CERTS = os.environ.get("INTEROP_CERTS", "")
CLIENT = "spiffe://east.mesh/ns/demo/sa/client"
SHOP = "spiffe://east.mesh/ns/demo/sa/shop"
STRANGER = "spiffe://east.mesh/ns/demo/sa/stranger"


def pem(name):
    return os.path.join(CERTS, name + ".pem")


def key(name):
    return os.path.join(CERTS, name + ".key")


# ---------------------------------------------------------------------- ports
_given = set()


def free_port():
    """A port that nobody listens on, and that was not given out before."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def wait(condition, seconds=10.0, what="the condition held"):
    """Polls until `condition()` is true and returns its value; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain until {what}")
        time.sleep(0.02)


# ------------------------------------------------------------------ processes
class Process:
    """One program in the background, its output in a file."""

    def __init__(self, name, argv, directory, env=None):
        self.name = name
        self.log = os.path.join(directory, f"{name}.log")
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                argv, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **(env or {})})

    @property
    def running(self):
        return self.child.poll() is None

    def output(self):
        with open(self.log, errors="replace") as log:
            return log.read()

    def kill(self):
        if self.running:
            self.child.kill()
        self.child.wait()

    def stop(self, seconds=5):
        """Asks it to end; its exit status, or None when it had to be killed."""
        if self.running:
            self.child.send_signal(signal.SIGINT)
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None


class Proxy(Process):
    """Envoy or MeshProxy with a configuration."""

    def __init__(self, kind, name, config, directory, env=None):
        self.kind = kind
        self.admin = config["admin"]["address"]["socket_address"]["port_value"]
        path = os.path.join(directory, f"{name}.json")
        with open(path, "w") as file:
            json.dump(config, file, indent=1)
        self.path = path
        if kind == "envoy":
            argv = [ENVOY, "-c", path, "--concurrency", "1", "--use-dynamic-base-id",
                    "--log-level", "warning", "--drain-time-s", "1"]
        else:
            argv = [MESHPROXY, "run", "-c", path]
        super().__init__(name, argv, directory, env)

    def ready(self, seconds=15):
        def asked():
            if not self.running:
                raise AssertionError(f"{self.name} ended at once:\n{self.output()[-2000:]}")
            return status_of(self.admin, "/ready") == 200
        wait(asked, seconds, f"{self.name} was ready")
        return self

    def admin_text(self, path):
        return get(self.admin, path, timeout=3).body.decode()

    def stat(self, name):
        """The value of a counter or gauge, by its full name; None if there is none."""
        found = re.search(rf"^{re.escape(name)}: (\d+)$", self.admin_text("/stats"), re.M)
        return int(found[1]) if found else None


# ---------------------------------------------------------------- HTTP client
class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


def request(port, method, path, headers=None, body=None, timeout=10.0, host=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        headers = dict(headers or {})
        if host:
            headers["Host"] = host
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        return Reply(answer.status, dict((k.lower(), v) for k, v in answer.getheaders()),
                     answer.read())
    finally:
        connection.close()


def get(port, path="/", **more):
    return request(port, "GET", path, **more)


def status_of(port, path="/", **more):
    """The status of a GET, or 0 when there was no answer."""
    try:
        return get(port, path, timeout=2, **more).status
    except (OSError, http.client.HTTPException):
        return 0


class Load:
    """Steady requests in the background; tells which failed and who answered."""

    def __init__(self, port, host=None, connections=2, pause=0.01):
        self.port, self.host, self.pause = port, host, pause
        self.lock = threading.Lock()
        self.answers, self.failures, self.requests = [], [], 0
        self.stopping = False
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(connections)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        connection = None
        while not self.stopping:
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/who", headers={"Host": self.host} if self.host else {})
                answer = connection.getresponse()
                body = answer.read().decode(errors="replace")
                if answer.status != 200:
                    raise ValueError(f"{answer.status} {body[:100]}")
                with self.lock:
                    self.requests += 1
                    self.answers.append(body)
            except (OSError, ValueError, http.client.HTTPException) as error:
                with self.lock:
                    self.requests += 1
                    self.failures.append(repr(error))
                if connection:
                    connection.close()
                connection = None
            time.sleep(self.pause)
        if connection:
            connection.close()

    def seen(self, last=10):
        """Who gave the last answers."""
        with self.lock:
            return set(self.answers[-last:])

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join(10)


# ------------------------------------------------------------------- backends
class Backend:
    """An HTTP/1.1 service that says what it was asked.

    /who              its name                 /echo...         the request as JSON
    /slow/MS          answers after MS ms      /status/CODE     that status
    /flaky/N/KEY      503 for the first N requests of KEY, then 200
    /bytes/N          N bytes                  /chunked/N       N bytes in chunks of 1,000
    /peer             the client certificate's URI (with `tls`), and ends the connection
    """

    def __init__(self, name="backend", tls=None):
        self.name = name
        self.requests = 0
        self.flaky = {}
        backend = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def setup(self):
                if tls:
                    self.request.settimeout(5)
                    self.request.do_handshake()
                super().setup()

            def answer(self):
                backend.requests += 1
                backend.respond(self)

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = answer

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem(tls), key(tls))
            context.load_verify_locations(pem("east-ca"))
            context.verify_mode = ssl.CERT_REQUIRED
            context.set_alpn_protocols(["http/1.1"])
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        _given.add(self.port)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def body_of(self, handler):
        if "chunked" in handler.headers.get("transfer-encoding", ""):
            body = b""
            while size := int(handler.rfile.readline().split(b";")[0], 16):
                body += handler.rfile.read(size)
                handler.rfile.readline()
            while handler.rfile.readline().strip():
                pass
            return body
        return handler.rfile.read(int(handler.headers.get("content-length", 0)))

    def respond(self, handler):
        body = self.body_of(handler)
        path = handler.path.split("?")[0].split("/")[1:]
        status, chunked, extra = 200, False, {}
        what, numbers = path[0], path[1:]
        if what == "slow":
            time.sleep(int(numbers[0]) / 1000)
            out = b"slow\n"
        elif what == "status":
            status, out = int(numbers[0]), b"as you wish\n"
        elif what == "flaky":
            count = self.flaky[numbers[1]] = self.flaky.get(numbers[1], 0) + 1
            status, out = (503, b"not yet\n") if count <= int(numbers[0]) else (200, b"at last\n")
        elif what == "bytes":
            out = b"x" * int(numbers[0])
        elif what == "chunked":
            out, chunked = b"y" * int(numbers[0]), True
        elif what == "who":
            out = self.name.encode()
        elif what == "peer":
            names = handler.connection.getpeercert().get("subjectAltName", ())
            out = " ".join(value for kind, value in names if kind == "URI").encode()
            extra["Connection"] = "close"
        else:
            headers = {k.lower(): v for k, v in handler.headers.items()}
            out = json.dumps({
                "backend": self.name, "method": handler.command, "path": handler.path,
                "host": headers.get("host"), "length": len(body), "headers": headers,
            }, sort_keys=True).encode()
        handler.send_response(status)
        for name, value in extra.items():
            handler.send_header(name, value)
        if status == 204 or 100 <= status < 200 or status == 304:
            handler.end_headers()
            return
        if chunked:
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            for at in range(0, len(out), 1000):
                part = out[at:at + 1000]
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            handler.wfile.write(b"0\r\n\r\n")
            return
        handler.send_header("Content-Length", str(len(out)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(out)


# ------------------------------------------------------------- configurations
def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def uri(name):
    return [{"san_type": "URI", "matcher": {"exact": name}}]


def common_tls(identity, peer, alpn, ca="east-ca"):
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2",
                       "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": alpn,
        "tls_certificates": [{"certificate_chain": {"filename": pem(identity)},
                              "private_key": {"filename": key(identity)}}],
        "validation_context": {"trusted_ca": {"filename": pem(ca)},
                               "match_typed_subject_alt_names": uri(peer)}}


def server_tls(identity, peer, alpn=("h2", "http/1.1")):
    """A transport socket that wants a client certificate with the name `peer`."""
    return {"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": TYPE + "transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": common_tls(identity, peer, list(alpn))}}


def client_tls(identity, peer, alpn=("h2",), sni="shop.demo.east.mesh"):
    return {"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": TYPE + "transport_sockets.tls.v3.UpstreamTlsContext", "sni": sni,
        "common_tls_context": common_tls(identity, peer, list(alpn))}}


def assignment(name, ports, priority=0):
    return {"cluster_name": name, "endpoints": [{
        "priority": priority,
        "lb_endpoints": [{"endpoint": {"address": address(p)}} for p in ports]}]}


def endpoint(port, weight=None, hostname=None, key=None, status=None):
    made = {"endpoint": {"address": address(port)}}
    if hostname:
        made["endpoint"]["hostname"] = hostname
    if weight:
        made["load_balancing_weight"] = weight
    if key:
        made["metadata"] = {"filter_metadata": {"envoy.lb": {"hash_key": key}}}
    if status:
        made["health_status"] = status
    return made


def group(endpoints, zone="", weight=None, priority=0):
    made = {"locality": {"region": "east", "zone": zone}, "priority": priority,
            "lb_endpoints": endpoints}
    if weight:
        made["load_balancing_weight"] = weight
    return made


def cluster(name, ports, h2=False, tls=None, **more):
    made = {"name": name, "type": "STATIC", "connect_timeout": "1s",
            "load_assignment": assignment(name, ports), **more}
    if h2:
        made["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": TYPE + "upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}}}}
    if tls:
        made["transport_socket"] = tls
    return made


def eds_cluster(name, **more):
    made = cluster(name, [], **more)
    del made["load_assignment"]
    made["type"] = "EDS"
    made["eds_cluster_config"] = {"eds_config": {"resource_api_version": "V3", "ads": {}}}
    return made


def all_to(name, **action):
    """A virtual host that sends everything to one cluster."""
    return {"name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name, **action}}]}


def manager(hosts=None, rds=None, **more):
    made = {"@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "in",
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                "@type": TYPE + "filters.http.router.v3.Router"}}], **more}
    if rds:
        made["rds"] = {"route_config_name": rds,
                       "config_source": {"resource_api_version": "V3", "ads": {}}}
    else:
        made["route_config"] = {"name": "routes", "virtual_hosts": hosts}
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": made}


def listener(port, hosts=None, rds=None, tls=None, name="in", **more):
    chain = {"filters": [manager(hosts, rds, **more)]}
    if tls:
        chain["transport_socket"] = tls
    return {"name": name, "address": address(port), "filter_chains": [chain]}


def bootstrap(listeners=(), clusters=(), control_planes=(), delta=False, **more):
    made = {"node": {"id": "interop", "cluster": "interop", "locality": {"region": "east"}},
            "admin": {"address": address(free_port())},
            "static_resources": {"listeners": list(listeners), "clusters": list(clusters)}, **more}
    if control_planes:
        names = []
        for number, port in enumerate(control_planes, 1):
            names.append(f"control-plane-{number}")
            made["static_resources"]["clusters"].append(cluster(names[-1], [port], h2=True))
        made["dynamic_resources"] = {
            "lds_config": {"resource_api_version": "V3", "ads": {}},
            "cds_config": {"resource_api_version": "V3", "ads": {}},
            "ads_config": {
                "api_type": "DELTA_GRPC" if delta else "GRPC", "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": name}} for name in names]}}
    return made


# ---------------------------------------------------------------------- tests
class Case(unittest.TestCase):
    """A test with a directory of its own and things that are ended afterwards."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="interop-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.processes = []

    def proxy(self, kind, name, config, env=None):
        made = Proxy(kind, name, config, self.directory, env)
        self.processes.append(made)
        self.addCleanup(made.kill)
        return made

    def meshproxy(self, config, name="meshproxy", env=None):
        return self.proxy("meshproxy", name, config, env)

    def envoy(self, config, name="envoy"):
        return self.proxy("envoy", name, config)

    def process(self, name, argv):
        made = Process(name, argv, self.directory)
        self.processes.append(made)
        self.addCleanup(made.kill)
        return made

    def backend(self, name="backend", tls=None):
        made = Backend(name, tls)
        self.addCleanup(made.stop)
        return made

    def run(self, result=None):
        """Adds what the programs said to a failure."""
        before = len(result.failures) + len(result.errors) if result else 0
        self._logs = ""
        outcome = super().run(result)
        if result and len(result.failures) + len(result.errors) > before and self._logs:
            print(self._logs, flush=True)
        return outcome

    def tearDown(self):
        for process in self.processes:
            try:
                lines = process.output().splitlines()[-6:]
            except OSError:
                continue
            if lines:
                self._logs += "".join(f"    {process.name}: {line}\n" for line in lines)
