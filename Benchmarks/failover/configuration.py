"""What Envoy and MeshProxy are configured with: the same file, as Istio would make it."""

TYPE = "type.googleapis.com/envoy.extensions."
SIDECAR_PORT, ADMIN_PORT, GATEWAY_ADMIN_PORT, GATEWAY_PORT, POD_PORT = 15001, 15000, 15010, 15443, 8080
ROUTE_TIMEOUT = "5s"

RETRY = {
    "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
    "num_retries": 2,
    "retriable_status_codes": [503],
    "retry_host_predicate": [{"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {
        "@type": TYPE + "retry.host.previous_hosts.v3.PreviousHostsPredicate"}}],
    "host_selection_retry_max_attempts": 5}


def address(host, port):
    return {"socket_address": {"address": host, "port_value": port}}


def listener(name, where, services, **manager):
    hosts = [{"name": f"svc{number}", "domains": [f"svc{number}.mesh"], "routes": [{
        "match": {"prefix": "/"},
        "route": {"cluster": f"svc{number}", "timeout": ROUTE_TIMEOUT, "retry_policy": RETRY}}]}
        for number in range(services)]
    return {"name": name, "address": where, "filter_chains": [{"filters": [{
        "name": "envoy.filters.network.http_connection_manager", "typed_config": {
            "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name, "codec_type": "AUTO",
            "route_config": {"name": "routes", "virtual_hosts": hosts},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                "@type": TYPE + "filters.http.router.v3.Router"}}], **manager}}]}]}


def cluster(name, localities, http2, ejected=None):
    """`localities` are (region, priority, [(address, port)])."""
    made = {
        "name": name, "type": "STATIC", "connect_timeout": "10s", "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [{
            "max_connections": 4294967295, "max_pending_requests": 4294967295,
            "max_requests": 4294967295, "max_retries": 4294967295}]},
        "load_assignment": {"cluster_name": name, "endpoints": [{
            "locality": {"region": region}, "priority": priority,
            "load_balancing_weight": len(addresses),
            "lb_endpoints": [{"endpoint": {"address": address(*where)},
                              "load_balancing_weight": 1} for where in addresses],
        } for region, priority, addresses in localities]}}
    if http2:
        made["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": TYPE + "upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}}}}
    if ejected is not None:
        made["common_lb_config"] = {"locality_weighted_lb_config": {},
                                    "healthy_panic_threshold": {"value": 0}}
        made["outlier_detection"] = {
            "consecutive_5xx": 5, "interval": "10s", "base_ejection_time": "30s",
            "max_ejection_percent": ejected, "enforcing_consecutive_5xx": 100,
            "enforcing_success_rate": 0}
    return made


def bootstrap(node, admin, listeners, clusters):
    return {"node": {"id": node, "cluster": node,
                     "locality": {"region": "east" if node == "sidecar" else "west"}},
            "admin": {"address": address("127.0.0.1", admin)},
            "static_resources": {"listeners": listeners, "clusters": clusters}}


def sidecar(plan, ejected):
    """In front of the client, in the cluster east. Its pods are preferred; west is behind gateways."""
    clusters = [
        cluster(f"svc{number}",
                [("east", 0, [(pod, POD_PORT) for pod in plan.local_pods(number)]),
                 ("west", 1, [(gateway, GATEWAY_PORT) for gateway in plan.gateways])],
                plan.http2, ejected)
        for number in range(plan.services)]
    return bootstrap("sidecar", ADMIN_PORT,
                     [listener("outbound", address("127.0.0.1", SIDECAR_PORT), plan.services)],
                     clusters)


def gateway(plan):
    """The way into the cluster west: one process, at several addresses."""
    clusters = [
        cluster(f"svc{number}",
                [("west", 0, [(pod, POD_PORT) for pod in plan.remote_pods(number)])], plan.http2)
        for number in range(plan.services)]
    return bootstrap(
        "gateway", GATEWAY_ADMIN_PORT,
        [listener(f"gateway{index}", address(where, GATEWAY_PORT), plan.services)
         for index, where in enumerate(plan.gateways)], clusters)
