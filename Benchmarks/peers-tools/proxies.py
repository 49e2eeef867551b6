"""How each proxy is started for a hop: its configuration, written to a directory, and its command line.

All have one worker, no access log, connections that live on, TLS 1.3 with AES-128-GCM, a client certificate that
is wanted and verified, and a server's that is verified. Envoy and MeshProxy compare the SPIFFE
name too; the others the DNS name of a server.
"""
import json
import os
import re
import subprocess
from dataclasses import dataclass

import harness as h

SUITE = "TLS_AES_128_GCM_SHA256"
SERVER = "shop.demo.east.mesh"


@dataclass(frozen=True)
class Hop:
    """What one proxy does: the protocol on either side, and where TLS is."""
    front: str
    back: str
    front_tls: bool = False
    back_tls: bool = False
    identity: str = "east-shop"


def write(place, name, lines):
    path = os.path.join(place, name)
    with open(path, "w") as file:
        file.write(lines if isinstance(lines, str) else "\n".join(lines) + "\n")
    return path


def version(binary, option, pattern):
    text = subprocess.run([binary, option], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=20).stdout
    found = re.search(pattern, text)
    return tuple(map(int, found[1].split("."))) if found else (0,)


def envoy_config(hop, port, up, place):
    """The bootstrap that Envoy and MeshProxy both read."""
    tls = h.server_tls(hop.identity, h.CLIENT, ["h2" if hop.front == "h2" else "http/1.1"])
    listener = h.listener(
        port, [h.all_to("up", timeout="0s")], tls=tls if hop.front_tls else None,
        codec_type="HTTP2" if hop.front == "h2" else "HTTP1", generate_request_id=False)
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"][0]["typed_config"]["suppress_envoy_headers"] = True
    many = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    cluster = h.cluster(
        "up", [up], h2=hop.back == "h2",
        tls=h.client_tls(hop.identity, h.SHOP) if hop.back_tls else None,
        circuit_breakers={"thresholds": [many]})
    for socket in (listener["filter_chains"][0].get("transport_socket"),
                   cluster.get("transport_socket")):
        if socket:
            socket["typed_config"]["common_tls_context"]["tls_params"] = {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3"}
    return write(place, "bootstrap.json", json.dumps(h.bootstrap([listener], [cluster])))


def meshproxy(hop, port, up, place, binary):
    return [binary, "run", "-c", envoy_config(hop, port, up, place)]


def envoy(hop, port, up, place, binary):
    return [binary, "-c", envoy_config(hop, port, up, place), "--concurrency", "1",
            "--disable-hot-restart", "--log-level", "error"]


def haproxy(hop, port, up, place, binary):
    ca = h.pem("east-ca")
    both = os.path.join(place, "both.pem")
    with open(both, "w") as file:
        for part in (h.pem(hop.identity), h.key(hop.identity)):
            with open(part) as source:
                file.write(source.read())
    bind = f"bind 127.0.0.1:{port}"
    if hop.front_tls:
        bind += f" ssl crt {both} ca-file {ca} verify required alpn h2"
    elif hop.front == "h2":
        bind += " proto h2"
    server = f"server up 127.0.0.1:{up}"
    if hop.back_tls:
        server += (f" ssl crt {both} ca-file {ca} verify required verifyhost {SERVER}"
                   f" sni str({SERVER}) alpn h2")
    elif hop.back == "h2":
        server += " proto h2"
    return [binary, "-db", "-q", "-f", write(place, "haproxy.cfg", [
        "global", " nbthread 1", " maxconn 2000",
        f" ssl-default-bind-ciphersuites {SUITE}", f" ssl-default-server-ciphersuites {SUITE}",
        " ssl-default-bind-options ssl-min-ver TLSv1.3",
        " ssl-default-server-options ssl-min-ver TLSv1.3",
        "defaults", " mode http", " timeout connect 5s", " timeout client 300s",
        " timeout server 300s", " timeout http-keep-alive 300s", " http-reuse always",
        "frontend in", " " + bind, " default_backend up", "backend up", " " + server])]


def nginx(hop, port, up, place, binary):
    """Without an HTTP/2 upstream (before 1.29.4) it speaks HTTP/1.1 behind."""
    which = version(binary, "-v", r"nginx/([\d.]+)")
    certificate, key, ca = h.pem(hop.identity), h.key(hop.identity), h.pem("east-ca")
    back = "2" if hop.back == "h2" and which >= (1, 29, 4) else "1.1"
    listen = f"listen 127.0.0.1:{port}" + (" ssl" if hop.front_tls else "")
    server = []
    if hop.front == "h2":
        if which >= (1, 25, 1):
            server.append("http2 on;")
        else:
            listen += " http2"
        server.append("http2_max_concurrent_streams 1000;")
    server.append(listen + " backlog=4096;")
    if hop.front_tls:
        server += [f"ssl_certificate {certificate};", f"ssl_certificate_key {key};",
                   f"ssl_client_certificate {ca};", "ssl_verify_client on;",
                   "ssl_protocols TLSv1.3;", f"ssl_conf_command Ciphersuites {SUITE};"]
    location = [f"proxy_pass {'https' if hop.back_tls else 'http'}://up;",
                f"proxy_http_version {back};", "proxy_set_header Host $host;",
                "proxy_request_buffering off;", "proxy_buffer_size 16k;", "proxy_buffers 8 16k;",
                "proxy_busy_buffers_size 32k;", "proxy_max_temp_file_size 0;"]
    if back == "1.1":
        location.append('proxy_set_header Connection "";')
    if hop.back_tls:
        location += [f"proxy_ssl_certificate {certificate};", f"proxy_ssl_certificate_key {key};",
                     f"proxy_ssl_trusted_certificate {ca};", "proxy_ssl_verify on;",
                     f"proxy_ssl_name {SERVER};", "proxy_ssl_server_name on;",
                     "proxy_ssl_protocols TLSv1.3;",
                     f"proxy_ssl_conf_command Ciphersuites {SUITE};"]
    temporary = [f"{kind}_temp_path {place}/{kind};"
                 for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    return [binary, "-p", place, "-c", write(place, "nginx.conf", [
        "daemon off;", "master_process off;", f"pid {place}/pid;", f"error_log {place}/log error;",
        "events { worker_connections 20000; }", "http {", "access_log off;",
        "keepalive_requests 1000000000;", "keepalive_timeout 300s;", "client_max_body_size 0;",
        *temporary,
        f"upstream up {{ server 127.0.0.1:{up}; keepalive 256; keepalive_requests 1000000000; }}",
        "server {", *server, "location / {", *location, "}", "}", "}"])]


def nghttpx(hop, port, up, place, binary):
    certificate, key, ca = h.pem(hop.identity), h.key(hop.identity), h.pem("east-ca")
    back = f"backend=127.0.0.1,{up};;proto=" + ("h2" if hop.back == "h2" else "http/1.1")
    options = [
        f"frontend=127.0.0.1,{port}" + ("" if hop.front_tls else ";no-tls"),
        back + (f";tls;sni={SERVER}" if hop.back_tls else ""),
        "workers=1", "no-via=yes", "no-server-push=yes", "no-ocsp=yes", f"pid-file={place}/pid",
        f"errorlog-file={place}/log", f"certificate-file={certificate}",
        f"private-key-file={key}", f"cacert={ca}", "tls-min-proto-version=TLSv1.3",
        f"tls13-ciphers={SUITE}", f"tls13-client-ciphers={SUITE}",
        "frontend-http2-max-concurrent-streams=1000", "frontend-http2-read-timeout=300s",
        "frontend-keep-alive-timeout=300s", "frontend-read-timeout=300s", "backlog=4096"]
    if hop.front_tls:
        options += ["verify-client=yes", f"verify-client-cacert={ca}"]
    if hop.back_tls:
        options += [f"client-cert-file={certificate}", f"client-private-key-file={key}"]
    return [binary, "--conf=" + write(place, "nghttpx.conf", options)]


PROXIES = {"meshproxy": meshproxy, "haproxy": haproxy, "nghttpx": nghttpx, "nginx": nginx,
           "envoy": envoy}
