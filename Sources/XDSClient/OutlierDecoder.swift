internal import MeshBase
internal import MeshConfig
internal import SwiftProtobuf

extension Decoding {
    mutating func outlierDetection(
        _ message: Envoy_Config_Cluster_V3_OutlierDetection
    ) -> OutlierDetection {
        noteUnknown(message)
        var result = OutlierDetection()
        outlierRuns(message, &result)
        outlierShares(message, &result)
        if message.hasInterval { result.interval = positive(message.interval, "interval") }
        if message.hasBaseEjectionTime {
            result.baseEjectionTime = positive(message.baseEjectionTime, "base_ejection_time")
        }
        result.maxEjectionTime = max(result.maxEjectionTime, result.baseEjectionTime)
        if message.hasMaxEjectionTime {
            result.maxEjectionTime = positive(message.maxEjectionTime, "max_ejection_time")
            if result.maxEjectionTime < result.baseEjectionTime {
                refuse(
                    "max_ejection_time", expected: "base_ejection_time or more",
                    got: "\(result.maxEjectionTime)")
            }
        }
        if message.hasMaxEjectionTimeJitter {
            result.maxEjectionTimeJitter = duration(
                message.maxEjectionTimeJitter, "max_ejection_time_jitter")
        }
        share(
            message.hasMaxEjectionPercent, message.maxEjectionPercent, "max_ejection_percent",
            &result.maxEjectionPercent)
        if message.hasAlwaysEjectOneHost {
            result.alwaysEjectOneHost = message.alwaysEjectOneHost.value
        }
        if message.hasSuccessfulActiveHealthCheckUnejectHost {
            result.successfulActiveHealthCheckUnejectHost =
                message.successfulActiveHealthCheckUnejectHost.value
        }
        if !message.monitors.isEmpty { remark("monitors", "are ignored") }
        return result
    }

    private mutating func outlierRuns(
        _ message: Envoy_Config_Cluster_V3_OutlierDetection, _ result: inout OutlierDetection
    ) {
        count(message.hasConsecutive5Xx, message.consecutive5Xx, &result.consecutive5xx)
        count(
            message.hasConsecutiveGatewayFailure, message.consecutiveGatewayFailure,
            &result.consecutiveGatewayFailure)
        count(
            message.hasConsecutiveLocalOriginFailure, message.consecutiveLocalOriginFailure,
            &result.consecutiveLocalOriginFailure)
        share(
            message.hasEnforcingConsecutive5Xx, message.enforcingConsecutive5Xx,
            "enforcing_consecutive_5xx", &result.enforcingConsecutive5xx)
        share(
            message.hasEnforcingConsecutiveGatewayFailure,
            message.enforcingConsecutiveGatewayFailure, "enforcing_consecutive_gateway_failure",
            &result.enforcingConsecutiveGatewayFailure)
        share(
            message.hasEnforcingConsecutiveLocalOriginFailure,
            message.enforcingConsecutiveLocalOriginFailure,
            "enforcing_consecutive_local_origin_failure",
            &result.enforcingConsecutiveLocalOriginFailure)
        result.splitExternalLocalOriginErrors = message.splitExternalLocalOriginErrors
    }

    private mutating func outlierShares(
        _ message: Envoy_Config_Cluster_V3_OutlierDetection, _ result: inout OutlierDetection
    ) {
        count(
            message.hasSuccessRateMinimumHosts, message.successRateMinimumHosts,
            &result.successRateMinimumHosts)
        count(
            message.hasSuccessRateRequestVolume, message.successRateRequestVolume,
            &result.successRateRequestVolume)
        count(
            message.hasSuccessRateStdevFactor, message.successRateStdevFactor,
            &result.successRateStdevFactor)
        share(
            message.hasEnforcingSuccessRate, message.enforcingSuccessRate,
            "enforcing_success_rate", &result.enforcingSuccessRate)
        share(
            message.hasEnforcingLocalOriginSuccessRate, message.enforcingLocalOriginSuccessRate,
            "enforcing_local_origin_success_rate", &result.enforcingLocalOriginSuccessRate)
        share(
            message.hasFailurePercentageThreshold, message.failurePercentageThreshold,
            "failure_percentage_threshold", &result.failurePercentageThreshold)
        count(
            message.hasFailurePercentageMinimumHosts, message.failurePercentageMinimumHosts,
            &result.failurePercentageMinimumHosts)
        count(
            message.hasFailurePercentageRequestVolume, message.failurePercentageRequestVolume,
            &result.failurePercentageRequestVolume)
        share(
            message.hasEnforcingFailurePercentage, message.enforcingFailurePercentage,
            "enforcing_failure_percentage", &result.enforcingFailurePercentage)
        share(
            message.hasEnforcingFailurePercentageLocalOrigin,
            message.enforcingFailurePercentageLocalOrigin,
            "enforcing_failure_percentage_local_origin",
            &result.enforcingFailurePercentageLocalOrigin)
    }

    private func count(
        _ isSet: Bool, _ value: Google_Protobuf_UInt32Value, _ target: inout Int
    ) {
        if isSet { target = Int(value.value) }
    }

    private mutating func share(
        _ isSet: Bool, _ value: Google_Protobuf_UInt32Value, _ field: String, _ target: inout Int
    ) {
        if !isSet { return }
        if value.value > 100 { refuse(field, expected: "0 to 100", got: "\(value.value)") }
        target = Int(value.value)
    }
}
