"""Where a scenario takes place: network namespaces, and the processes in them.

A worker process runs in namespaces of its own (`unshare`): network, mounts and process ids. When it ends,
for whatever reason, the kernel ends what it started and removes the rest.

    this namespace           router               there
    client ─► sidecar ──────────┼─────── pods of east, gateways ─► pods of west

The router can lose everything for an address without a word (a `blackhole` route), as a dead node or a cut
line does. Scenarios that need no black hole stay on loopback, and also run without namespaces.
"""
import asyncio
import json
import os
import subprocess
import sys
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
NAMESPACES = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


class Failure(Exception):
    """A scenario can't be run; the text says why."""


def unshare():
    """The command that gives a process namespaces of its own, or None where that is not allowed."""
    for options in ([], ["--user", "--map-root-user"]):
        command = ["unshare", *options, *NAMESPACES]
        try:
            tried = subprocess.run(command + ["ip", "link", "set", "lo", "up"], capture_output=True)
        except FileNotFoundError:
            return None
        if tried.returncode == 0:
            return command
    return None


class Plan:
    """Addresses and sizes of one scenario."""

    def __init__(self, services, pods, http2, routed):
        self.services, self.pods, self.http2, self.routed = services, pods, http2, routed
        self.net = "10" if routed else "127"
        self.gateways = [f"{self.net}.2.0.1", f"{self.net}.2.0.2"]

    def local_pods(self, service):
        return [f"{self.net}.1.{service}.{pod}" for pod in range(1, self.pods + 1)]

    def remote_pods(self, service):
        return [f"{self.net}.3.{service}.{pod}" for pod in range(1, self.pods + 1)]


def command(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"{' '.join(words)}: {done.stderr.strip()}")


class World:
    def __init__(self, plan, kind, binary, directory):
        self.plan, self.kind, self.binary, self.directory = plan, kind, binary, directory
        self.children = []
        self.pods = None
        self.there = []

    # ------------------------------------------------------------- networks
    def make_networks(self):
        command("ip", "link", "set", "lo", "up")
        if not self.plan.routed:
            return
        command("mount", "-t", "tmpfs", "tmpfs", "/run")
        for name in ("router", "there"):
            command("ip", "netns", "add", name)
        router = self.inside("router")
        self.there = self.inside("there")
        command("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth0",
                "netns", "router")
        command(*router, "ip", "link", "add", "veth1", "type", "veth", "peer", "name", "veth1",
                "netns", "there")
        for where, address, device in (([], "10.200.0.1/30", "veth0"), (router, "10.200.0.2/30", "veth0"),
                                       (router, "10.200.0.5/30", "veth1"),
                                       (self.there, "10.200.0.6/30", "veth1")):
            command(*where, "ip", "address", "add", address, "dev", device)
            command(*where, "ip", "link", "set", device, "up")
        command(*self.there, "ip", "link", "set", "lo", "up")
        command("ip", "route", "add", "default", "via", "10.200.0.2")
        command(*self.there, "ip", "route", "add", "default", "via", "10.200.0.5")
        for net in ("10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"):
            command(*self.there, "ip", "route", "add", "local", net, "dev", "lo")
            command(*router, "ip", "route", "add", net, "via", "10.200.0.6")
        command(*router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    @staticmethod
    def inside(name):
        return ["nsenter", f"--net=/run/netns/{name}"]

    def black_hole(self, net):
        """Everything to these addresses is lost from now on."""
        command(*self.inside("router"), "ip", "route", "replace", "blackhole", net)

    # ------------------------------------------------------------ processes
    def start(self, name, *argv, **pipes):
        with open(os.path.join(self.directory, name + ".log"), "wb") as log:
            child = subprocess.Popen(argv, cwd=self.directory, **{
                "stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **pipes})
        self.children.append(child)
        return child

    def start_pods(self):
        wanted = []
        for side, pods in (("local", self.plan.local_pods), ("remote", self.plan.remote_pods)):
            for service in range(self.plan.services):
                for number, address in enumerate(pods(service)):
                    wanted.append((f"{side}-{service}-{number}", address, 8080))
        path = os.path.join(self.directory, "pods.json")
        with open(path, "w") as file:
            json.dump(wanted, file)
        self.pods = self.start("pods", *self.there, sys.executable, os.path.join(HERE, "pods.py"),
                               path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.tell("start")

    def tell(self, verb, prefix=""):
        """An order to the pods; returns when it has been carried out."""
        self.pods.stdin.write(f"{verb} {prefix}\n".encode())
        self.pods.stdin.flush()
        answer = self.pods.stdout.readline()
        if not answer:
            raise Failure("the pods have ended: " + self.log("pods"))
        return json.loads(answer) if verb == "report" else None

    async def told(self, verb, prefix=""):
        return await asyncio.to_thread(self.tell, verb, prefix)

    def start_proxy(self, name, configuration, where=()):
        path = os.path.join(self.directory, name + ".json")
        with open(path, "w") as file:
            json.dump(configuration, file, indent=1)
        if self.kind == "meshproxy":
            argv = [self.binary, "run", "-c", path, "--concurrency", "2"]
        else:
            argv = [self.binary, "-c", path, "--concurrency", "2", "--use-dynamic-base-id",
                    "--log-level", "warning"]
        self.start(name, *where, *argv)

    async def ready(self, port, name, where=()):
        child = self.children[-1]
        for _ in range(600):
            if child.poll() is not None:
                raise Failure(f"{name} ended at once: " + self.log(name))
            # The admin port of a proxy elsewhere is not to be reached from here.
            asked = await asyncio.to_thread(self.asks, port, where)
            if asked:
                return
            await asyncio.sleep(0.05)
        raise Failure(f"{name} was not ready within 30 s: " + self.log(name))

    @staticmethod
    def asks(port, where):
        url = f"http://127.0.0.1:{port}/ready"
        if where:
            ask = f"import urllib.request as u; u.urlopen('{url}', timeout=1)"
            return subprocess.run([*where, sys.executable, "-c", ask],
                                  capture_output=True).returncode == 0
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    def log(self, name):
        with open(os.path.join(self.directory, name + ".log"), errors="replace") as file:
            return file.read()[-1500:].strip()

    def end(self):
        for child in reversed(self.children):
            child.kill()
        for child in self.children:
            child.wait()
