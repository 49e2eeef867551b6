internal import MeshConfig
internal import SwiftProtobuf

extension Decoding {
    mutating func endpoints(_ message: Envoy_Config_Endpoint_V3_ClusterLoadAssignment)
        -> EndpointSet
    {
        noteUnknown(message)
        var result = EndpointSet()
        if message.policy.hasOverprovisioningFactor {
            result.overprovisioningFactor = message.policy.overprovisioningFactor.value
            if result.overprovisioningFactor == 0 {
                refuse("policy.overprovisioning_factor", expected: "more than 0", got: "0")
            }
        }
        if !message.policy.dropOverloads.isEmpty {
            remark("policy.drop_overloads", "is ignored: no request is dropped")
        }
        var weights: [UInt32: UInt64] = [:]
        result.localities = each("endpoints", message.endpoints) { at, group in
            at.noteUnknown(group)
            if group.priority > 128 {
                at.refuse("priority", expected: "at most 128", got: "\(group.priority)")
            }
            if group.hasLoadBalancingWeight {
                weights[group.priority, default: 0] += UInt64(group.loadBalancingWeight.value)
            }
            if case .ledsClusterLocalityConfig? = group.lbConfig {
                at.refuse(
                    "leds_cluster_locality_config", expected: "lb_endpoints", got: "LEDS")
            }
            let lists =
                group.lbEndpoints.isEmpty
                ? group.loadBalancerEndpoints.lbEndpoints : group.lbEndpoints
            let endpoints = at.each("lb_endpoints", lists) { $0.endpoint($1) }
            return LocalityEndpoints(
                locality: at.locality(group.locality), priority: Int(group.priority),
                weight: group.hasLoadBalancingWeight ? group.loadBalancingWeight.value : nil,
                endpoints: endpoints.compactMap { $0 })
        }
        for (priority, sum) in weights where sum > UInt64(UInt32.max) {
            refuse(
                "endpoints", expected: "weights of a priority up to 4294967295 together",
                got: "\(sum) at priority \(priority)")
        }
        return result
    }

    private mutating func endpoint(_ message: Envoy_Config_Endpoint_V3_LbEndpoint) -> Endpoint? {
        noteUnknown(message)
        guard case .endpoint(let host)? = message.hostIdentifier else {
            refuse(
                expected: "endpoint",
                got: message.endpointName.isEmpty ? "none" : "endpoint_name")
            return nil
        }
        noteUnknown(host)
        guard let target = within("endpoint.address", { $0.target(host.address) }) else {
            return nil
        }
        var endpoint = Endpoint(target: target, hostname: host.hostname)
        if message.hasLoadBalancingWeight {
            endpoint.weight = message.loadBalancingWeight.value
            if endpoint.weight == 0 {
                refuse("load_balancing_weight", expected: "1 or more", got: "0")
            }
        }
        endpoint.status = status(message.healthStatus, "health_status")
        if host.hasHealthCheckConfig {
            let check = host.healthCheckConfig
            if check.portValue != 0 {
                endpoint.healthCheckPort = port(
                    check.portValue, "endpoint.health_check_config.port_value")
            }
            endpoint.healthCheckHostname = check.hostname
            endpoint.isNeverProbed = check.disableActiveHealthCheck
            if check.hasAddress {
                endpoint.healthCheckAddress = address(
                    check.address, "endpoint.health_check_config.address")
            }
        }
        endpoint.additionalAddresses = each(
            "endpoint.additional_addresses", host.additionalAddresses
        ) { $0.address($1.address, "address") }.compactMap { $0 }
        endpoint.metadata = metadata(message.metadata)
        return endpoint
    }
    mutating func status(_ status: Envoy_Config_Core_V3_HealthStatus, _ field: String)
        -> Endpoint.Status
    {
        switch status {
        case .unknown: return .unknown
        case .healthy: return .healthy
        case .unhealthy: return .unhealthy
        case .draining: return .draining
        case .timeout: return .timeout
        case .degraded: return .degraded
        case .UNRECOGNIZED(let number):
            refuse(field, expected: "a known status", got: "\(number)")
            return .unknown
        }
    }
}
