"""curl, h2load and nghttpd, as Debian has them."""
import os
import re
import shutil
import subprocess

import harness as h


def run(*argv, seconds=60, **more):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=seconds, text=True, **more)


class Curl(h.Case):
    def setUp(self):
        super().setUp()
        self.service = self.backend()
        self.plain, self.tls = h.free_port(), h.free_port()
        self.proxied = self.meshproxy(h.bootstrap(
            [h.listener(self.plain, [h.all_to("app")], name="plain"),
             h.listener(self.tls, [h.all_to("app")], name="tls",
                        tls=h.server_tls("east-shop", h.CLIENT))],
            [h.cluster("app", [self.service.port])])).ready()
        self.url = f"http://127.0.0.1:{self.plain}"
        self.secure = f"https://shop.demo.east.mesh:{self.tls}"
        self.tls_options = ["--cacert", h.pem("east-ca"), "--resolve",
                            f"shop.demo.east.mesh:{self.tls}:127.0.0.1"]

    def curl(self, *options, identity="east-client"):
        """(exit status, standard output with the verdict of -w at its end)"""
        options = list(options)
        if any(o.startswith("https:") for o in options):
            options += self.tls_options
            if identity:
                options += ["--cert", h.pem(identity), "--key", h.key(identity)]
        result = subprocess.run(
            ["curl", "-sS", "--max-time", "20", *options], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, timeout=30)
        self.complaint = result.stderr.decode(errors="replace")
        return result.returncode, result.stdout.decode(errors="replace")

    def test_http1(self):
        """curl over HTTP/1.1"""
        code, out = self.curl("--http1.1", "-w", " %{http_code} %{http_version}", self.url + "/who")
        self.assertEqual((code, out), (0, "backend 200 1.1"))

    def test_prior_knowledge(self):
        """curl over cleartext HTTP/2 by prior knowledge"""
        code, out = self.curl(
            "--http2-prior-knowledge", "-w", " %{http_code} %{http_version}", self.url + "/who")
        self.assertEqual((code, out), (0, "backend 200 2"))

    def test_upgrade_is_declined(self):
        """curl that offers an upgrade to HTTP/2 gets its answer over HTTP/1.1"""
        code, out = self.curl("--http2", "-w", " %{http_code} %{http_version}", self.url + "/who")
        self.assertEqual((code, out), (0, "backend 200 1.1"))

    def test_tls(self):
        """curl with a client certificate gets HTTP/2 over TLS, or HTTP/1.1 where it asks for it"""
        code, out = self.curl(
            "--http2", "-w", " %{http_code} %{http_version}", self.secure + "/who")
        self.assertEqual((code, out), (0, "backend 200 2"), self.complaint)
        code, out = self.curl(
            "--http1.1", "-w", " %{http_code} %{http_version}", self.secure + "/who")
        self.assertEqual((code, out), (0, "backend 200 1.1"), self.complaint)
        code, out = self.curl("--tls-max", "1.2", "-w", " %{http_code}", self.secure + "/who")
        self.assertEqual((code, out), (0, "backend 200"), self.complaint)

    def test_client_certificates(self):
        """No certificate, a stranger's and a rogue's are refused; the next one passes"""
        for identity in (None, "east-stranger", "rogue-client"):
            with self.subTest(identity):
                code, _ = self.curl(self.secure + "/who", identity=identity)
                self.assertNotEqual(code, 0)
        self.assertEqual(self.service.requests, 0)
        self.assertEqual(self.curl(self.secure + "/who"), (0, "backend"))

    def test_expect_continue(self):
        """An upload that waits for 100 Continue arrives whole"""
        for where in (self.url, self.secure):
            with self.subTest(where):
                path = os.path.join(self.directory, "upload")
                with open(path, "wb") as file:
                    file.write(os.urandom(1_500_000))
                code, out = self.curl(
                    "--http1.1", "-H", "Expect: 100-continue", "--expect100-timeout", "15",
                    "--data-binary", "@" + path, where + "/echo")
                self.assertEqual(code, 0, self.complaint)
                self.assertIn('"length": 1500000', out)

    def test_head(self):
        """HEAD has a length and no body"""
        for version in ("--http1.1", "--http2-prior-knowledge"):
            with self.subTest(version):
                code, out = self.curl(version, "-I", self.url + "/bytes/4321")
                self.assertEqual(code, 0, self.complaint)
                self.assertRegex(out.lower(), r"http/\S+ 200")
                self.assertIn("content-length: 4321", out.lower())

    def test_chunked_upload(self):
        """A chunked upload arrives whole, over either protocol"""
        path = os.path.join(self.directory, "upload")
        with open(path, "wb") as file:
            file.write(b"c" * 700_001)
        for version in ("--http1.1", "--http2-prior-knowledge"):
            with self.subTest(version):
                code, out = self.curl(version, "-H", "Transfer-Encoding: chunked", "-X", "POST",
                                      "-T", path, self.url + "/echo")
                self.assertEqual(code, 0, self.complaint)
                self.assertIn('"length": 700001', out)

    def test_chunked_download(self):
        """A chunked response arrives whole, over either protocol"""
        for version in ("--http1.1", "--http2-prior-knowledge"):
            code, out = self.curl(version, self.url + "/chunked/123456")
            self.assertEqual((code, len(out)), (0, 123_456))

    def test_keep_alive(self):
        """Several requests share one connection"""
        code, out = self.curl("--http1.1", "-w", " %{num_connects}\n", self.url + "/who",
                              self.url + "/bytes/5", self.url + "/status/404", self.url + "/who")
        self.assertEqual(code, 0)
        connects = [int(line.split()[-1]) for line in out.strip().splitlines()
                    if line.split()[-1].isdigit()]
        self.assertEqual(sum(connects), 1, out)

    def test_graceful_stop(self):
        """SIGTERM lets a request in flight finish, and the process ends with status 0"""
        running = subprocess.Popen(
            ["curl", "-sS", "--max-time", "10", self.url + "/slow/800"], stdout=subprocess.PIPE)
        h.wait(lambda: self.service.requests == 1, 5, "the request arrived")
        self.proxied.child.terminate()
        out, _ = running.communicate(timeout=15)
        self.assertEqual((running.returncode, out), (0, b"slow\n"))
        self.assertEqual(self.proxied.child.wait(40), 0)


class Load(h.Case):
    REQUESTS = 2000

    def setUp(self):
        super().setUp()
        nghttpd = shutil.which("nghttpd") or "/usr/sbin/nghttpd"
        root = os.path.join(self.directory, "root")
        os.mkdir(root)
        with open(os.path.join(root, "file"), "wb") as file:
            file.write(b"n" * 5000)
        self.upstream = h.free_port()
        self.process("nghttpd", [nghttpd, "--no-tls", "-a", "127.0.0.1", "-d", root,
                                 str(self.upstream)])
        h.wait(lambda: h.listens(self.upstream), 5, "nghttpd listens")

    def load(self, url, *options):
        result = run("h2load", "-n", str(self.REQUESTS), "-c", "4", "-m", "10", *options, url)
        self.assertEqual(result.returncode, 0, result.stdout)
        done = re.search(r"requests: .*?(\d+) succeeded, (\d+) failed, (\d+) errored", result.stdout)
        codes = re.search(r"status codes: (\d+) 2xx", result.stdout)
        self.assertEqual((done and done.groups(), codes and codes[1]),
                         ((str(self.REQUESTS), "0", "0"), str(self.REQUESTS)), result.stdout)

    def test_h2_to_h2(self):
        """h2load through us to nghttpd, HTTP/2 on both sides: 2,000 of 2,000"""
        port = h.free_port()
        self.meshproxy(h.bootstrap(
            [h.listener(port, [h.all_to("n")])], [h.cluster("n", [self.upstream], h2=True)])).ready()
        self.load(f"http://127.0.0.1:{port}/file")

    def test_h1_to_h2(self):
        """h2load over HTTP/1.1 through us to nghttpd over HTTP/2: 2,000 of 2,000"""
        port = h.free_port()
        self.meshproxy(h.bootstrap(
            [h.listener(port, [h.all_to("n")])], [h.cluster("n", [self.upstream], h2=True)])).ready()
        self.load(f"http://127.0.0.1:{port}/file", "--h1", "-m", "1")

    def test_two_sidecars(self):
        """h2load through two of our sidecars over mTLS to nghttpd: 2,000 of 2,000"""
        inbound, outbound = h.free_port(), h.free_port()
        self.meshproxy(h.bootstrap(
            [h.listener(inbound, [h.all_to("n")], tls=h.server_tls("east-shop", h.CLIENT))],
            [h.cluster("n", [self.upstream], h2=True)]), "inbound").ready()
        self.meshproxy(h.bootstrap(
            [h.listener(outbound, [h.all_to("n")])],
            [h.cluster("n", [inbound], h2=True, tls=h.client_tls("east-client", h.SHOP))]),
            "outbound").ready()
        self.load(f"http://127.0.0.1:{outbound}/file")
