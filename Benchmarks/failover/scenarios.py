"""The five scenarios: what is set up, what fails, and what is read off afterwards."""
import asyncio
import os
import re
from dataclasses import dataclass

import configuration
from load import Load
from world import Plan, World

# A request that took longer than this waited for somebody who was dead.
SLOW = 0.1


@dataclass
class Scenario:
    name: str
    title: str
    # Uncounted: `prepare` acts after the warm-up, and this long before the fault.
    prepare: object
    prepared_for: float
    prepared_for_quick: float
    fault: object
    watched: float
    watched_quick: float
    target: str
    hits: object
    services: int = 1
    pods: int = 3
    rate: int = 300
    routed: bool = False


async def nothing(world):
    pass


async def local_stops(world):
    await world.told("stop", "local")


async def local_fails(world):
    await world.told("5xx", "local")


async def local_starts(world):
    await world.told("start", "local")


async def gateway_vanishes(world):
    await asyncio.to_thread(world.black_hole, world.plan.gateways[0] + "/32")


async def cluster_vanishes(world):
    await asyncio.to_thread(world.black_hole, "10.1.0.0/16")


SCENARIOS = [
    Scenario("local-refused", "all local pods refuse",
             nothing, 0.5, 0.2, local_stops, 8, 2.5,
             "no request failed, moved < 200 ms",
             lambda row: row["failed"] == 0 and row["moved_ms"] < 200),
    Scenario("local-5xx", "all local pods answer 503",
             nothing, 0.5, 0.2, local_fails, 8, 2.5,
             "moved < 500 ms", lambda row: row["moved_ms"] < 500),
    Scenario("gateway-blackhole", "one of two gateways is a black hole, while traffic goes through both",
             local_stops, 2, 1, gateway_vanishes, 15, 5.5,
             "no request failed, worst < 2.5 s",
             lambda row: row["failed"] == 0 and row["worst_ms"] < 2500, routed=True),
    Scenario("cluster-blackhole-100", "the local cluster is a black hole, with 100 services in it",
             nothing, 1, 0.5, cluster_vanishes, 15, 5.5,
             "no request failed, moved < 3 s",
             lambda row: row["failed"] == 0 and row["moved_ms"] < 3000,
             services=100, pods=2, rate=500, routed=True),
    Scenario("return", "the local pods are back after an outage",
             local_stops, 6, 1, local_starts, 75, 9,
             "no request failed, no flap",
             lambda row: row["failed"] == 0 and row["flaps"] == 0),
]
NAMES = [scenario.name for scenario in SCENARIOS]


def named(name):
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


async def run(scenario, kind, binary, directory, ejected, http2, quick):
    """One scenario with one proxy; the row of the table."""
    plan = Plan(scenario.services, scenario.pods, http2, scenario.routed)
    world = World(plan, kind, binary, directory)
    try:
        world.make_networks()
        await asyncio.to_thread(world.start_pods)
        world.start_proxy("gateway", configuration.gateway(plan), world.there)
        await world.ready(configuration.GATEWAY_ADMIN_PORT, "gateway", world.there)
        world.start_proxy("sidecar", configuration.sidecar(plan, ejected))
        await world.ready(configuration.ADMIN_PORT, "sidecar")
        load = Load("127.0.0.1", configuration.SIDECAR_PORT, scenario.rate, plan.services)
        await load.run(1)
        await scenario.prepare(world)
        await load.run(scenario.prepared_for_quick if quick else scenario.prepared_for)
        counted_from = asyncio.get_running_loop().time()
        running = asyncio.create_task(load.run(
            0.5 + (scenario.watched_quick if quick else scenario.watched)))
        await asyncio.sleep(0.5)
        at = asyncio.get_running_loop().time()
        await scenario.fault(world)
        await running
        await load.settle()
        remote = await world.told("report", "remote")
        counted = [request for request in load.requests if request.start >= counted_from]
        keep(world, counted, at)
        row = figures(scenario, counted, at)
        row["notes"] = notes(scenario, world, counted, at, remote)
        return row
    finally:
        world.end()


def figures(scenario, requests, at):
    bad = [request for request in requests if request.end > at and is_bad(request)]
    row = {
        "scenario": scenario.name, "requests": len(requests),
        "failed": sum(request.status != 200 for request in requests),
        "moved_ms": round(1000 * max((request.end - at for request in bad), default=0)),
        "worst_ms": round(1000 * max(request.end - request.start for request in requests))}
    if scenario.name == "return":
        row["flaps"] = flaps(local_shares(requests, at))
    return row


def keep(world, requests, at):
    """Every request, in order, for who wants to look closer (`--logs`)."""
    with open(os.path.join(world.directory, "requests.csv"), "w") as file:
        file.write("service,began_ms,took_ms,status,pod\n")
        for request in sorted(requests, key=lambda request: request.start):
            file.write(f"{request.service},{1000 * (request.start - at):.1f},"
                       f"{1000 * (request.end - request.start):.1f},{request.status},{request.pod}\n")


def is_bad(request):
    return request.status != 200 or request.end - request.start > SLOW


def notes(scenario, world, requests, at, remote):
    said = []
    busy = sum(request.end <= at and is_bad(request) for request in requests)
    if busy:
        said.append(f"{busy} slow or failed before the fault: not over what was before, or a busy machine")
    slow = sum(request.end > at and request.status == 200 and is_bad(request)
               for request in requests)
    if slow:
        said.append(f"{slow} waited and were answered")
    if scenario.name == "return":
        said += ramp(local_shares(requests, at))
    if scenario.name == "cluster-blackhole-100":
        said.append(f"at most {remote['peak']} requests at once in west")
    if world.kind == "meshproxy" and scenario.routed:
        hops, events = path_events(world)
        said.append(f"{hops} first hops called dead in {events} events")
    return "; ".join(said)


WINDOW = 0.5


def local_shares(requests, at):
    """For each half second after the return the share of answers from local pods."""
    windows = {}
    for request in requests:
        if request.end >= at and request.status == 200:
            local = request.pod.startswith("local")
            windows.setdefault(int((request.end - at) / WINDOW), []).append(local)
    return [sum(windows.get(i, [0])) / len(windows.get(i, [0]))
            for i in range(max(windows, default=-1) + 1)]


def flaps(shares):
    """How often traffic that had begun to return went away again by more than a quarter."""
    count, highest = 0, 0.0
    for share in shares:
        if share < highest - 0.25:
            count += 1
            highest = share
        highest = max(highest, share)
    return count


def ramp(shares):
    first = next((i for i, share in enumerate(shares) if share > 0), None)
    if first is None:
        return [f"not back within {len(shares) * WINDOW:.0f} s"]
    whole = next((i for i in range(len(shares)) if min(shares[i:-1], default=1) > 0.98), None)
    steps = [after - before for before, after in zip([0] + shares, shares)]
    back = "not all back" if whole is None else f"all back after {whole * WINDOW:.1f} s"
    return [f"first answers after {first * WINDOW:.1f} s, {back}",
            f"biggest step {100 * max(steps):.0f} % in {WINDOW} s", f"{flaps(shares)} flaps"]


def path_events(world):
    """First hops that were found dead without a refusal, and how often one was."""
    with open(os.path.join(world.directory, "sidecar.log"), errors="replace") as log:
        found = re.findall(r"ejected: (?:ping|connect)-timeout ×\d+,.*subject=path\(([^)]*)",
                           log.read())
    return len(set(found)), len(found)
