"""What a request costs, counted rather than timed, and held to committed numbers.

The release binary carries requests in four scenarios, one at a time and 32 at once. Counted are the calls
of malloc and its kin in the whole process, and its system calls. `budget.json` holds what they were when last
lowered; a test fails when a number is exceeded by more than the slack below. After a change that lowers
a number, or one that is worth what it adds:

    UPDATE_BUDGET=1 Tests/Interop/run --binary PATH -k Budget
"""
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import time

import harness as h

HERE = os.path.dirname(os.path.abspath(__file__))
FILE = os.path.join(HERE, "budget.json")
TOOLS = os.path.join(h.REPO, "Benchmarks", "peers-tools")
# One at a time the counts repeat to a few hundredths. At once, how many requests share a turn of the
# loop depends on who gets the processor when, so calls that are made once a turn vary.
SLACK = {"mallocs": {"1": 0.15, "32": 1.5}, "system calls": {"1": 0.25, "32": 0.8}}
REQUESTS = {"1": 1000, "32": 4000}


def compiled(source, directory, *options):
    """The program or library made of a C file."""
    cc = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if cc is None:
        raise AssertionError("a C compiler is needed: scripts/needs test")
    made = os.path.join(directory, os.path.basename(source)[:-2])
    subprocess.run([cc, "-O2", "-o", made, source, *options], check=True)
    return made


class Budget(h.Case):
    def setUp(self):
        super().setUp()
        self.load = compiled(os.path.join(TOOLS, "load.c"), self.directory,
                             "-lssl", "-lcrypto", "-lnghttp2")
        self.counter = compiled(os.path.join(HERE, "count_malloc.c"), self.directory,
                                "-shared", "-fPIC")
        self.app, self.secure_app = h.free_port(), h.free_port()
        answer = {"name": "all", "domains": ["*"], "routes": [{
            "match": {"prefix": "/"},
            "direct_response": {"status": 200, "body": {"inline_string": "x" * 1024}},
            "response_headers_to_add": [
                {"header": {"key": name, "value": value}} for name, value in (
                    ("content-type", "application/json"), ("cache-control", "no-store"),
                    ("x-served-by", "shop-7d4b9c6f5-abcde"))]}]}
        self.meshproxy(h.bootstrap([
            h.listener(self.app, [answer]),
            h.listener(self.secure_app, [answer], tls=h.server_tls("east-shop", h.CLIENT),
                       name="secure")]), "app").ready()

    def measure(self, front_secure, back_secure):
        """Calls per request: {"mallocs": {"1": ..., "32": ...}, "system calls": {...}}."""
        port, counts = h.free_port(), os.path.join(self.directory, "counts")
        listener = h.listener(
            port, [h.all_to("app")],
            tls=h.server_tls("east-shop", h.CLIENT) if front_secure else None)
        if back_secure:
            cluster = h.cluster("app", [self.secure_app], h2=True,
                                tls=h.client_tls("east-client", h.SHOP))
        else:
            cluster = h.cluster("app", [self.app])
        proxy = self.meshproxy(
            h.bootstrap([listener], [cluster]), "proxy",
            {"LD_PRELOAD": self.counter, "MALLOC_COUNT": counts}).ready()

        def mallocs():
            with open(counts, "rb") as file:
                return struct.unpack("QQ", file.read(16))[0]

        found = {"mallocs": {}, "system calls": {}}
        for together, requests in REQUESTS.items():
            with Load(self, port, front_secure, together, requests) as load:
                before = mallocs()
                load.run()
                found["mallocs"][together] = round((mallocs() - before) / requests, 2)
            with Load(self, port, front_secure, together, requests) as load:
                with SystemCalls(self, proxy.child.pid) as calls:
                    load.run()
                found["system calls"][together] = round(calls.total / requests, 2)
        return found

    def check(self, scenario, *where):
        now = self.measure(*where)
        with open(FILE) as file:
            budget = json.load(file)
        if os.environ.get("UPDATE_BUDGET"):
            budget[scenario] = now
            with open(FILE, "w") as file:
                json.dump(budget, file, indent=2, sort_keys=True)
                file.write("\n")
            return
        wrong = []
        for what, by_number in SLACK.items():
            for together, slack in by_number.items():
                count, allowed = now[what][together], budget[scenario][what][together]
                print(f"    {scenario} {what} per request, {together} at once: {count}"
                      f" (committed {allowed})", flush=True)
                if count > allowed + slack:
                    wrong.append(f"{what} per request, {together} at once: {count}, committed"
                                 f" {allowed} with a slack of {slack}")
        self.assertEqual(wrong, [], f"{scenario} costs more than Tests/Interop/budget.json says")

    def test_s1(self):
        """HTTP/1.1 to HTTP/1.1 allocates and calls the system no more than committed"""
        self.check("S1 HTTP/1.1 to HTTP/1.1", False, False)

    def test_s4(self):
        """HTTP/1.1 to mTLS HTTP/2 allocates and calls the system no more than committed"""
        self.check("S4 HTTP/1.1 to mTLS HTTP/2", False, True)

    def test_s5(self):
        """mTLS HTTP/2 to HTTP/1.1 allocates and calls the system no more than committed"""
        self.check("S5 mTLS HTTP/2 to HTTP/1.1", True, False)

    def test_s6(self):
        """mTLS HTTP/2 to mTLS HTTP/2 allocates and calls the system no more than committed"""
        self.check("S6 mTLS HTTP/2 to mTLS HTTP/2", True, True)


class Load:
    """The load generator, connected and warmed up, ready to send a number of requests."""

    def __init__(self, test, port, secure, together, requests):
        argv = [test.load, "--port", str(port), "--requests", str(requests), "--warm", "500"]
        if secure:
            argv += ["--h2", "--tls", "--name", "shop.demo.east.mesh", "--ca", h.pem("east-ca"),
                     "--cert", h.pem("east-client"), "--key", h.key("east-client")]
            argv += ["--conns", "1"] if together == "1" else ["--conns", "8", "--streams", "4"]
        else:
            argv += ["--conns", together]
        self.requests = requests
        self.child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        if self.child.stdout.readline() != "ready\n":
            raise AssertionError("the load generator could not warm up")
        return self

    def run(self):
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        done = json.loads(self.child.stdout.readline())
        if (done["ok"], done["errors"]) != (self.requests, 0):
            raise AssertionError(f"requests failed: {done}")
        # What the last response leaves to do, such as an answer to a window update.
        time.sleep(0.05)

    def __exit__(self, *_):
        self.child.stdin.close()
        self.child.wait(10)


class SystemCalls:
    """strace on a process, while the context lasts; then `total` calls."""

    def __init__(self, test, pid):
        self.summary = os.path.join(test.directory, "strace")
        self.process = test.process(
            "strace", ["strace", "-c", "-f", "-o", self.summary, "-p", str(pid)])

    def __enter__(self):
        h.wait(lambda: " attached" in self.process.output(), 10, "strace was attached")
        return self

    def __exit__(self, kind, *_):
        self.process.child.send_signal(signal.SIGINT)
        self.process.child.wait(10)
        if kind is not None:
            return
        with open(self.summary) as file:
            text = file.read()
        total = re.search(r"^\s*100\.00\s+\S+\s+\S+\s+(\d+)\s.*total$", text, re.M)
        if not total:
            raise AssertionError(f"strace counted nothing:\n{text}")
        self.total = int(total[1])
