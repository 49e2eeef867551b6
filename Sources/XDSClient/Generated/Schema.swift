// swift-format-ignore-file
// Made by scripts/generate-protos; see Schema in MessageSchema.swift for its form.

enum SchemaText {
    static let messages: StaticString = """
@google.protobuf.Any
type_url 1 - s -
value 2 - b -
@envoy.config.accesslog.v3.AccessLog
name 1 - s -
filter 2 - m2 -
typed_config 4 - m0 0
~envoy.config.accesslog.v3.AccessLogFilter
@envoy.config.core.v3.TypedExtensionConfig
name 1 - s -
typed_config 2 - m0 -
~envoy.config.core.v3.SocketOption
~envoy.config.core.v3.SocketOptionsOverride
@google.protobuf.DoubleValue
value 1 - d -
@google.protobuf.FloatValue
value 1 - f -
@google.protobuf.Int64Value
value 1 - I -
@google.protobuf.UInt64Value
value 1 - U -
@google.protobuf.Int32Value
value 1 - i -
@google.protobuf.UInt32Value
value 1 - u -
@google.protobuf.BoolValue
value 1 - o -
@google.protobuf.StringValue
value 1 - s -
@google.protobuf.BytesValue
value 1 - b -
@envoy.config.core.v3.Pipe
path 1 - s -
mode 2 - u -
@envoy.config.core.v3.EnvoyInternalAddress
server_listener_name 1 - s 0
endpoint_id 2 - s -
@envoy.config.core.v3.SocketAddress
protocol 1 - e0 -
address 2 - s -
port_value 3 - u 0
named_port 4 - s 0
resolver_name 5 - s -
ipv4_compat 6 - o -
network_namespace_filepath 7 - s -
@envoy.config.core.v3.TcpKeepalive
keepalive_probes 1 - m11 -
keepalive_time 2 - m11 -
keepalive_interval 3 - m11 -
@envoy.config.core.v3.ExtraSourceAddress
address 1 - m17 -
socket_options 2 - m5 -
@envoy.config.core.v3.BindConfig
source_address 1 - m17 -
freebind 2 - m12 -
socket_options 3 * m4 -
extra_source_addresses 5 * m19 -
additional_source_addresses 4 * m17 -
local_address_selector 6 - m3 -
@envoy.config.core.v3.Address
socket_address 1 - m17 0
pipe 2 - m15 0
envoy_internal_address 3 - m16 0
@envoy.config.core.v3.CidrRange
address_prefix 1 - s -
prefix_len 2 - m11 -
@google.protobuf.Duration
seconds 1 - I -
nanos 2 - i -
@envoy.config.core.v3.BackoffStrategy
base_interval 1 - m23 -
max_interval 2 - m23 -
@envoy.type.v3.Percent
value 1 - d -
@envoy.type.v3.FractionalPercent
numerator 1 - u -
denominator 2 - e1 -
@envoy.type.v3.SemanticVersion
major_number 1 - u -
minor_number 2 - u -
patch 3 - u -
@google.protobuf.Struct
fields 1 %s m29 -
@google.protobuf.Value
null_value 1 - e2 0
number_value 2 - d 0
string_value 3 - s 0
bool_value 4 - o 0
struct_value 5 - m28 0
list_value 6 - m30 0
@google.protobuf.ListValue
values 1 * m29 -
~xds.core.v3.ContextParams
@envoy.config.core.v3.Locality
region 1 - s -
zone 2 - s -
sub_zone 3 - s -
@envoy.config.core.v3.BuildVersion
version 1 - m27 -
metadata 2 - m28 -
@envoy.config.core.v3.Extension
name 1 - s -
category 2 - s -
type_descriptor 3 - s -
version 4 - m33 -
disabled 5 - o -
type_urls 6 * s -
@envoy.config.core.v3.Node
id 1 - s -
cluster 2 - s -
metadata 3 - m28 -
dynamic_parameters 12 %s m31 -
locality 4 - m32 -
user_agent_name 6 - s -
user_agent_version 7 - s 0
user_agent_build_version 8 - m33 0
extensions 9 * m34 -
client_features 10 * s -
listening_addresses 11 * m21 -
@envoy.config.core.v3.Metadata
filter_metadata 1 %s m28 -
typed_filter_metadata 2 %s m0 -
@envoy.config.core.v3.RuntimeDouble
default_value 1 - d -
runtime_key 2 - s -
@envoy.config.core.v3.HeaderValue
key 1 - s -
value 2 - s -
raw_value 3 - b -
@envoy.config.core.v3.HeaderValueOption
header 1 - m38 -
append 2 - m12 -
append_action 3 - e3 -
keep_empty_value 4 - o -
@envoy.config.core.v3.WatchedDirectory
path 1 - s -
@envoy.config.core.v3.DataSource
filename 1 - s 0
inline_bytes 2 - b 0
inline_string 3 - s 0
environment_variable 4 - s 0
watched_directory 5 - m40 -
@envoy.config.core.v3.RetryPolicy
retry_back_off 1 - m24 -
num_retries 2 - m11 -
retry_on 3 - s -
retry_priority 4 - m43 -
retry_host_predicate 5 * m44 -
host_selection_retry_max_attempts 6 - I -
@envoy.config.core.v3.RetryPolicy.RetryPriority
name 1 - s -
typed_config 2 - m0 0
@envoy.config.core.v3.RetryPolicy.RetryHostPredicate
name 1 - s -
typed_config 2 - m0 0
@envoy.config.core.v3.TransportSocket
name 1 - s -
typed_config 3 - m0 0
@envoy.config.core.v3.RuntimeFractionalPercent
default_value 1 - m26 -
runtime_key 2 - s -
@envoy.config.core.v3.ControlPlane
identifier 1 - s -
@envoy.config.cluster.v3.CircuitBreakers
thresholds 1 * m49 -
per_host_thresholds 2 * m49 -
@envoy.config.cluster.v3.CircuitBreakers.Thresholds
priority 1 - e4 -
max_connections 2 - m11 -
max_pending_requests 3 - m11 -
max_requests 4 - m11 -
max_retries 5 - m11 -
retry_budget 8 - m50 -
track_remaining 6 - o -
max_connection_pools 7 - m11 -
@envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget
budget_percent 1 - m25 -
min_retry_concurrency 2 - m11 -
@envoy.config.core.v3.GrpcService
envoy_grpc 1 - m52 0
google_grpc 2 - m53 0
timeout 3 - m23 -
initial_metadata 5 * m38 -
retry_policy 6 - m42 -
@envoy.config.core.v3.GrpcService.EnvoyGrpc
cluster_name 1 - s -
authority 2 - s -
retry_policy 3 - m42 -
max_receive_message_length 4 - m11 -
skip_envoy_headers 5 - o -
~envoy.config.core.v3.GrpcService.GoogleGrpc
~xds.core.v3.Authority
@envoy.config.core.v3.ApiConfigSource
api_type 1 - e7 -
transport_api_version 8 - e8 -
cluster_names 2 * s -
grpc_services 4 * m51 -
refresh_delay 3 - m23 -
request_timeout 5 - m23 -
rate_limit_settings 6 - m58 -
set_node_on_first_message_only 7 - o -
config_validators 9 * m3 -
@envoy.config.core.v3.AggregatedConfigSource
@envoy.config.core.v3.SelfConfigSource
transport_api_version 1 - e8 -
@envoy.config.core.v3.RateLimitSettings
max_tokens 1 - m11 -
fill_rate 2 - m6 -
@envoy.config.core.v3.PathConfigSource
path 1 - s -
watched_directory 2 - m40 -
@envoy.config.core.v3.ConfigSource
authorities 7 * m54 -
path 1 - s 0
path_config_source 8 - m59 0
api_config_source 2 - m55 0
ads 3 - m56 0
self 5 - m57 0
initial_fetch_timeout 4 - m23 -
resource_api_version 6 - e8 -
@envoy.config.core.v3.ExtensionConfigSource
config_source 1 - m60 -
default_config 2 - m0 -
apply_default_config_without_warming 3 - o -
type_urls 4 * s -
@envoy.config.cluster.v3.Filter
name 1 - s -
typed_config 2 - m0 -
config_discovery 3 - m61 -
@envoy.config.cluster.v3.OutlierDetection
consecutive_5xx 1 - m11 -
interval 2 - m23 -
base_ejection_time 3 - m23 -
max_ejection_percent 4 - m11 -
enforcing_consecutive_5xx 5 - m11 -
enforcing_success_rate 6 - m11 -
success_rate_minimum_hosts 7 - m11 -
success_rate_request_volume 8 - m11 -
success_rate_stdev_factor 9 - m11 -
consecutive_gateway_failure 10 - m11 -
enforcing_consecutive_gateway_failure 11 - m11 -
split_external_local_origin_errors 12 - o -
consecutive_local_origin_failure 13 - m11 -
enforcing_consecutive_local_origin_failure 14 - m11 -
enforcing_local_origin_success_rate 15 - m11 -
failure_percentage_threshold 16 - m11 -
enforcing_failure_percentage 17 - m11 -
enforcing_failure_percentage_local_origin 18 - m11 -
failure_percentage_minimum_hosts 19 - m11 -
failure_percentage_request_volume 20 - m11 -
max_ejection_time 21 - m23 -
max_ejection_time_jitter 22 - m23 -
successful_active_health_check_uneject_host 23 - m12 -
monitors 24 * m3 -
always_eject_one_host 25 - m12 -
~envoy.config.core.v3.EventServiceConfig
@envoy.config.core.v3.JsonFormatOptions
sort_properties 1 - o -
@envoy.config.core.v3.SubstitutionFormatString
text_format 1 - s 0
json_format 2 - m28 0
text_format_source 5 - m41 0
omit_empty_values 3 - o -
content_type 4 - s -
formatters 6 * m3 -
json_format_options 7 - m65 -
@envoy.config.core.v3.ProxyProtocolPassThroughTLVs
match_type 1 - e9 -
tlv_type 2 * u -
@envoy.config.core.v3.TlvEntry
type 1 - u -
value 2 - b -
format_string 3 - m66 -
@envoy.config.core.v3.ProxyProtocolConfig
version 1 - e10 -
pass_through_tlvs 2 - m67 -
added_tlvs 3 * m68 -
@envoy.type.matcher.v3.RegexMatcher
google_re2 1 - m71 0
regex 2 - s -
@envoy.type.matcher.v3.RegexMatcher.GoogleRE2
max_program_size 1 - m11 -
@envoy.type.matcher.v3.RegexMatchAndSubstitute
pattern 1 - m70 -
substitution 2 - s -
~xds.core.v3.TypedExtensionConfig
@envoy.type.matcher.v3.StringMatcher
exact 1 - s 0
prefix 2 - s 0
suffix 3 - s 0
safe_regex 5 - m70 0
contains 7 - s 0
custom 8 - m73 0
ignore_case 6 - o -
@envoy.type.v3.Int64Range
start 1 - I -
end 2 - I -
@envoy.type.v3.Int32Range
start 1 - i -
end 2 - i -
@envoy.type.v3.DoubleRange
start 1 - d -
end 2 - d -
@envoy.config.core.v3.HealthStatusSet
statuses 1 * e12 -
@envoy.config.core.v3.HealthCheck
timeout 1 - m23 -
interval 2 - m23 -
initial_jitter 20 - m23 -
interval_jitter 3 - m23 -
interval_jitter_percent 18 - u -
unhealthy_threshold 4 - m11 -
healthy_threshold 5 - m11 -
alt_port 6 - m11 -
reuse_connection 7 - m12 -
http_health_check 8 - m81 0
tcp_health_check 9 - m82 0
grpc_health_check 11 - m83 0
custom_health_check 13 - m84 0
no_traffic_interval 12 - m23 -
no_traffic_healthy_interval 24 - m23 -
unhealthy_interval 14 - m23 -
unhealthy_edge_interval 15 - m23 -
healthy_edge_interval 16 - m23 -
event_log_path 17 - s -
event_logger 25 * m3 -
event_service 22 - m64 -
always_log_health_check_failures 19 - o -
always_log_health_check_success 26 - o -
tls_options 21 - m85 -
transport_socket_match_criteria 23 - m28 -
@envoy.config.core.v3.HealthCheck.Payload
text 1 - s 0
binary 2 - b 0
@envoy.config.core.v3.HealthCheck.HttpHealthCheck
host 1 - s -
path 2 - s -
send 3 - m80 -
receive 4 * m80 -
response_buffer_size 14 - m9 -
request_headers_to_add 6 * m39 -
request_headers_to_remove 8 * s -
expected_statuses 9 * m75 -
retriable_statuses 12 * m75 -
codec_client_type 10 - e11 -
service_name_matcher 11 - m74 -
method 13 - e5 -
@envoy.config.core.v3.HealthCheck.TcpHealthCheck
send 1 - m80 -
receive 2 * m80 -
proxy_protocol_config 3 - m69 -
@envoy.config.core.v3.HealthCheck.GrpcHealthCheck
service_name 1 - s -
authority 2 - s -
initial_metadata 3 * m39 -
@envoy.config.core.v3.HealthCheck.CustomHealthCheck
name 1 - s -
typed_config 3 - m0 0
@envoy.config.core.v3.HealthCheck.TlsOptions
alpn_protocols 1 * s -
@envoy.config.core.v3.UpstreamHttpProtocolOptions
auto_sni 1 - o -
auto_san_validation 2 - o -
override_auto_sni_header 3 - s -
@envoy.config.core.v3.AlternateProtocolsCacheOptions
name 1 - s -
max_entries 2 - m11 -
key_value_store_config 3 - m3 -
prepopulated_entries 4 * m88 -
canonical_suffixes 5 * s -
@envoy.config.core.v3.AlternateProtocolsCacheOptions.AlternateProtocolsCacheEntry
hostname 1 - s -
port 2 - u -
@envoy.config.core.v3.HttpProtocolOptions
idle_timeout 1 - m23 -
max_connection_duration 3 - m23 -
max_headers_count 2 - m11 -
max_response_headers_kb 7 - m11 -
max_stream_duration 4 - m23 -
headers_with_underscores_action 5 - e13 -
max_requests_per_connection 6 - m11 -
@envoy.config.core.v3.Http1ProtocolOptions
allow_absolute_url 1 - m12 -
accept_http_10 2 - o -
default_host_for_http_10 3 - s -
header_key_format 4 - m91 -
enable_trailers 5 - o -
allow_chunked_length 6 - o -
override_stream_error_on_invalid_http_message 7 - m12 -
send_fully_qualified_url 8 - o -
use_balsa_parser 9 - m12 -
allow_custom_methods 10 - o -
ignore_http_11_upgrade 11 * m74 -
@envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat
proper_case_words 1 - m92 0
stateful_formatter 8 - m3 0
@envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords
@envoy.config.core.v3.KeepaliveSettings
interval 1 - m23 -
timeout 2 - m23 -
interval_jitter 3 - m25 -
connection_idle_interval 4 - m23 -
@envoy.config.core.v3.Http2ProtocolOptions
hpack_table_size 1 - m11 -
max_concurrent_streams 2 - m11 -
initial_stream_window_size 3 - m11 -
initial_connection_window_size 4 - m11 -
allow_connect 5 - o -
allow_metadata 6 - o -
max_outbound_frames 7 - m11 -
max_outbound_control_frames 8 - m11 -
max_consecutive_inbound_frames_with_empty_payload 9 - m11 -
max_inbound_priority_frames_per_stream 10 - m11 -
max_inbound_window_update_frames_per_data_frame_sent 11 - m11 -
stream_error_on_invalid_http_messaging 12 - o -
override_stream_error_on_invalid_http_message 14 - m12 -
custom_settings_parameters 13 * m95 -
connection_keepalive 15 - m93 -
use_oghttp2_codec 16 - m12 -
max_metadata_size 17 - m9 -
@envoy.config.core.v3.Http2ProtocolOptions.SettingsParameter
identifier 1 - m11 -
value 2 - m11 -
~envoy.config.core.v3.Http3ProtocolOptions
@envoy.config.core.v3.SchemeHeaderTransformation
scheme_to_overwrite 1 - s 0
match_upstream 2 - o -
~envoy.config.core.v3.DnsResolutionConfig
@envoy.config.endpoint.v3.Endpoint
address 1 - m21 -
health_check_config 2 - m100 -
hostname 3 - s -
additional_addresses 4 * m101 -
@envoy.config.endpoint.v3.Endpoint.HealthCheckConfig
port_value 1 - u -
hostname 2 - s -
address 3 - m21 -
disable_active_health_check 4 - o -
@envoy.config.endpoint.v3.Endpoint.AdditionalAddress
address 1 - m21 -
@envoy.config.endpoint.v3.LbEndpoint
endpoint 1 - m99 0
endpoint_name 5 - s 0
health_status 2 - e12 -
metadata 3 - m36 -
load_balancing_weight 4 - m11 -
@envoy.config.endpoint.v3.LedsClusterLocalityConfig
leds_config 1 - m60 -
leds_collection_name 2 - s -
@envoy.config.endpoint.v3.LocalityLbEndpoints
locality 1 - m32 -
metadata 9 - m36 -
lb_endpoints 2 * m102 -
load_balancer_endpoints 7 - m105 0
leds_cluster_locality_config 8 - m103 0
load_balancing_weight 3 - m11 -
priority 5 - u -
proximity 6 - m11 -
@envoy.config.endpoint.v3.LocalityLbEndpoints.LbEndpointList
lb_endpoints 1 * m102 -
@envoy.config.endpoint.v3.ClusterLoadAssignment
cluster_name 1 - s -
endpoints 2 * m104 -
named_endpoints 5 %s m99 -
policy 4 - m107 -
@envoy.config.endpoint.v3.ClusterLoadAssignment.Policy
drop_overloads 2 * m108 -
overprovisioning_factor 3 - m11 -
endpoint_stale_after 4 - m23 -
weighted_priority_health 6 - o -
@envoy.config.endpoint.v3.ClusterLoadAssignment.Policy.DropOverload
category 1 - s -
drop_percentage 2 - m26 -
~envoy.type.metadata.v3.MetadataKey
~xds.type.matcher.v3.Matcher
@envoy.config.cluster.v3.Cluster
transport_socket_matches 43 * m112 -
transport_socket_matcher 59 - m110 -
name 1 - s -
alt_stat_name 28 - s -
type 2 - e18 0
cluster_type 38 - m113 0
eds_cluster_config 3 - m114 -
connect_timeout 4 - m23 -
per_connection_buffer_limit_bytes 5 - m11 -
lb_policy 6 - e19 -
load_assignment 33 - m106 -
health_checks 8 * m79 -
max_requests_per_connection 9 - m11 -
circuit_breakers 10 - m48 -
upstream_http_protocol_options 46 - m86 -
common_http_protocol_options 29 - m89 -
http_protocol_options 13 - m90 -
http2_protocol_options 14 - m94 -
typed_extension_protocol_options 36 %s m0 -
dns_refresh_rate 16 - m23 -
dns_jitter 58 - m23 -
dns_failure_refresh_rate 44 - m127 -
respect_dns_ttl 39 - o -
dns_lookup_family 17 - e20 -
dns_resolvers 18 * m21 -
use_tcp_for_dns_lookups 45 - o -
dns_resolution_config 53 - m98 -
typed_dns_resolver_config 55 - m3 -
wait_for_warm_on_init 54 - m12 -
outlier_detection 19 - m63 -
cleanup_interval 20 - m23 -
upstream_bind_config 21 - m20 -
lb_subset_config 22 - m115 -
ring_hash_lb_config 23 - m120 1
maglev_lb_config 52 - m121 1
original_dst_lb_config 34 - m122 1
least_request_lb_config 37 - m119 1
round_robin_lb_config 56 - m118 1
common_lb_config 27 - m123 -
transport_socket 24 - m45 -
metadata 25 - m36 -
protocol_selection 26 - e21 -
upstream_connection_options 30 - m131 -
close_connections_on_host_health_failure 31 - o -
ignore_health_on_host_removal 32 - o -
filters 40 * m62 -
load_balancing_policy 41 - m129 -
lrs_server 42 - m60 -
lrs_report_endpoint_metrics 57 * s -
track_timeout_budgets 47 - o -
upstream_config 48 - m3 -
track_cluster_stats 49 - m133 -
preconnect_policy 50 - m128 -
connection_pool_per_downstream_connection 51 - o -
@envoy.config.cluster.v3.Cluster.TransportSocketMatch
name 1 - s -
match 2 - m28 -
transport_socket 3 - m45 -
@envoy.config.cluster.v3.Cluster.CustomClusterType
name 1 - s -
typed_config 2 - m0 -
@envoy.config.cluster.v3.Cluster.EdsClusterConfig
eds_config 1 - m60 -
service_name 2 - s -
@envoy.config.cluster.v3.Cluster.LbSubsetConfig
fallback_policy 1 - e15 -
default_subset 2 - m28 -
subset_selectors 3 * m116 -
locality_weight_aware 4 - o -
scale_locality_weight 5 - o -
panic_mode_any 6 - o -
list_as_any 7 - o -
metadata_fallback_policy 8 - e16 -
@envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector
keys 1 * s -
single_host_per_subset 4 - o -
fallback_policy 2 - e14 -
fallback_keys_subset 3 * s -
@envoy.config.cluster.v3.Cluster.SlowStartConfig
slow_start_window 1 - m23 -
aggression 2 - m37 -
min_weight_percent 3 - m25 -
@envoy.config.cluster.v3.Cluster.RoundRobinLbConfig
slow_start_config 1 - m117 -
@envoy.config.cluster.v3.Cluster.LeastRequestLbConfig
choice_count 1 - m11 -
active_request_bias 2 - m37 -
slow_start_config 3 - m117 -
@envoy.config.cluster.v3.Cluster.RingHashLbConfig
minimum_ring_size 1 - m9 -
hash_function 3 - e17 -
maximum_ring_size 4 - m9 -
@envoy.config.cluster.v3.Cluster.MaglevLbConfig
table_size 1 - m9 -
@envoy.config.cluster.v3.Cluster.OriginalDstLbConfig
use_http_header 1 - o -
http_header_name 2 - s -
upstream_port_override 3 - m11 -
metadata_key 4 - m109 -
@envoy.config.cluster.v3.Cluster.CommonLbConfig
healthy_panic_threshold 1 - m25 -
zone_aware_lb_config 2 - m124 0
locality_weighted_lb_config 3 - m125 0
update_merge_window 4 - m23 -
ignore_new_hosts_until_first_hc 5 - o -
close_connections_on_host_set_change 6 - o -
consistent_hashing_lb_config 7 - m126 -
override_host_status 8 - m78 -
@envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig
routing_enabled 1 - m25 -
min_cluster_size 2 - m9 -
fail_traffic_on_panic 3 - o -
@envoy.config.cluster.v3.Cluster.CommonLbConfig.LocalityWeightedLbConfig
@envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig
use_hostname_for_hashing 1 - o -
hash_balance_factor 2 - m11 -
@envoy.config.cluster.v3.Cluster.RefreshRate
base_interval 1 - m23 -
max_interval 2 - m23 -
@envoy.config.cluster.v3.Cluster.PreconnectPolicy
per_upstream_preconnect_ratio 1 - m6 -
predictive_preconnect_ratio 2 - m6 -
@envoy.config.cluster.v3.LoadBalancingPolicy
policies 1 * m130 -
@envoy.config.cluster.v3.LoadBalancingPolicy.Policy
typed_extension_config 4 - m3 -
@envoy.config.cluster.v3.UpstreamConnectionOptions
tcp_keepalive 1 - m18 -
set_local_interface_name_on_upstream_connections 2 - o -
happy_eyeballs_config 3 - m132 -
@envoy.config.cluster.v3.UpstreamConnectionOptions.HappyEyeballsConfig
first_address_family_version 1 - e22 -
first_address_family_count 2 - m11 -
@envoy.config.cluster.v3.TrackClusterStats
timeout_budgets 1 - o -
request_response_sizes 2 - o -
per_endpoint_stats 3 - o -
~envoy.config.listener.v3.ApiListener
@envoy.config.listener.v3.Filter
name 1 - s -
typed_config 4 - m0 0
config_discovery 5 - m61 0
@envoy.config.listener.v3.FilterChainMatch
destination_port 8 - m11 -
prefix_ranges 3 * m22 -
address_suffix 4 - s -
suffix_len 5 - m11 -
direct_source_prefix_ranges 13 * m22 -
source_type 12 - e23 -
source_prefix_ranges 6 * m22 -
source_ports 7 * u -
server_names 11 * s -
transport_protocol 9 - s -
application_protocols 10 * s -
@envoy.config.listener.v3.FilterChain
filter_chain_match 1 - m136 -
filters 3 * m135 -
use_proxy_proto 4 - m12 -
metadata 5 - m36 -
transport_socket 6 - m45 -
transport_socket_connect_timeout 9 - m23 -
name 7 - s -
@envoy.config.listener.v3.ListenerFilterChainMatchPredicate
or_match 1 - m139 0
and_match 2 - m139 0
not_match 3 - m138 0
any_match 4 - o 0
destination_port_range 5 - m76 0
@envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet
rules 1 * m138 -
@envoy.config.listener.v3.ListenerFilter
name 1 - s -
typed_config 3 - m0 0
config_discovery 5 - m61 0
filter_disabled 4 - m138 -
~envoy.config.listener.v3.UdpListenerConfig
@envoy.config.listener.v3.AdditionalAddress
address 1 - m21 -
socket_options 2 - m5 -
@envoy.config.listener.v3.Listener
name 1 - s -
address 2 - m21 -
additional_addresses 33 * m142 -
stat_prefix 28 - s -
filter_chains 3 * m137 -
fcds_config 36 - m148 -
filter_chain_matcher 32 - m110 -
use_original_dst 4 - m12 -
default_filter_chain 25 - m137 -
per_connection_buffer_limit_bytes 5 - m11 -
metadata 6 - m36 -
deprecated_v1 7 - m144 -
drain_type 8 - e24 -
listener_filters 9 * m140 -
listener_filters_timeout 15 - m23 -
continue_on_listener_filters_timeout 17 - o -
transparent 10 - m12 -
freebind 11 - m12 -
socket_options 13 * m4 -
tcp_fast_open_queue_length 12 - m11 -
traffic_direction 16 - e6 -
udp_listener_config 18 - m141 -
api_listener 19 - m134 -
connection_balance_config 20 - m145 -
reuse_port 21 - o -
enable_reuse_port 29 - m12 -
access_log 22 * m1 -
tcp_backlog_size 24 - m11 -
max_connections_to_accept_per_socket_event 34 - m11 -
bind_to_port 26 - m12 -
internal_listener 27 - m147 0
enable_mptcp 30 - o -
ignore_global_conn_limit 31 - o -
bypass_overload_manager 35 - o -
@envoy.config.listener.v3.Listener.DeprecatedV1
bind_to_port 1 - m12 -
@envoy.config.listener.v3.Listener.ConnectionBalanceConfig
exact_balance 1 - m146 0
extend_balance 2 - m3 0
@envoy.config.listener.v3.Listener.ConnectionBalanceConfig.ExactBalance
@envoy.config.listener.v3.Listener.InternalListenerConfig
@envoy.config.listener.v3.Listener.FcdsConfig
name 1 - s -
config_source 2 - m60 -
~envoy.config.metrics.v3.StatsSink
~envoy.config.metrics.v3.StatsConfig
~envoy.config.overload.v3.OverloadManager
~envoy.config.trace.v3.Tracing
@envoy.extensions.transport_sockets.tls.v3.TlsParameters
tls_minimum_protocol_version 1 - e25 -
tls_maximum_protocol_version 2 - e25 -
cipher_suites 3 * s -
ecdh_curves 4 * s -
signature_algorithms 5 * s -
compliance_policies 6 * e26 -
@envoy.extensions.transport_sockets.tls.v3.PrivateKeyProvider
provider_name 1 - s -
typed_config 3 - m0 0
fallback 4 - o -
@envoy.extensions.transport_sockets.tls.v3.TlsCertificate
certificate_chain 1 - m41 -
private_key 2 - m41 -
pkcs12 8 - m41 -
watched_directory 7 - m40 -
private_key_provider 6 - m154 -
password 3 - m41 -
ocsp_staple 4 - m41 -
signed_certificate_timestamp 5 * m41 -
@envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys
keys 1 * m41 -
@envoy.extensions.transport_sockets.tls.v3.CertificateProviderPluginInstance
instance_name 1 - s -
certificate_name 2 - s -
@envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher
san_type 1 - e27 -
matcher 2 - m74 -
oid 3 - s -
@envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext
trusted_ca 1 - m41 -
ca_certificate_provider_instance 13 - m157 -
system_root_certs 17 - m160 -
watched_directory 11 - m40 -
verify_certificate_spki 3 * s -
verify_certificate_hash 2 * s -
match_typed_subject_alt_names 15 * m158 -
match_subject_alt_names 9 * m74 -
require_signed_certificate_timestamp 6 - m12 -
crl 7 - m41 -
allow_expired_certificate 8 - o -
trust_chain_verification 10 - e28 -
custom_validator_config 12 - m3 -
only_verify_leaf_cert_crl 14 - o -
max_verify_depth 16 - m11 -
@envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.SystemRootCerts
@envoy.extensions.transport_sockets.tls.v3.GenericSecret
secret 1 - m41 -
secrets 2 %s m41 -
@envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig
name 1 - s -
sds_config 2 - m60 -
@envoy.extensions.transport_sockets.tls.v3.Secret
name 1 - s -
tls_certificate 2 - m155 0
session_ticket_keys 3 - m156 0
validation_context 4 - m159 0
generic_secret 5 - m161 0
@envoy.config.bootstrap.v3.Bootstrap
node 1 - m35 -
node_context_params 26 * s -
static_resources 2 - m165 -
dynamic_resources 3 - m166 -
cluster_manager 4 - m171 -
hds_config 14 - m55 -
flags_path 5 - s -
stats_sinks 6 * m149 -
deferred_stat_options 39 - m168 -
stats_config 13 - m150 -
stats_flush_interval 7 - m23 -
stats_flush_on_admin 29 - o 0
stats_eviction_interval 42 - m23 1
watchdog 8 - m174 -
watchdogs 27 - m173 -
tracing 9 - m152 -
layered_runtime 17 - m180 -
admin 12 - m170 -
overload_manager 15 - m151 -
enable_dispatcher_stats 16 - o -
header_prefix 18 - s -
stats_server_version_override 19 - m9 -
use_tcp_for_dns_lookups 20 - o -
dns_resolution_config 30 - m98 -
typed_dns_resolver_config 31 - m3 -
bootstrap_extensions 21 * m3 -
fatal_actions 28 * m175 -
config_sources 22 * m60 -
default_config_source 23 - m60 -
default_socket_interface 24 - s -
certificate_provider_instances 25 %s m3 -
inline_headers 32 * m181 -
perf_tracing_file_path 33 - s -
default_regex_engine 34 - m3 -
xds_delegate_extension 35 - m3 -
xds_config_tracker_extension 36 - m3 -
listener_manager 37 - m3 -
application_log_config 38 - m167 -
grpc_async_client_manager_config 40 - m169 -
memory_allocator_manager 41 - m182 -
@envoy.config.bootstrap.v3.Bootstrap.StaticResources
listeners 1 * m143 -
clusters 2 * m111 -
secrets 3 * m163 -
@envoy.config.bootstrap.v3.Bootstrap.DynamicResources
lds_config 1 - m60 -
lds_resources_locator 5 - s -
cds_config 2 - m60 -
cds_resources_locator 6 - s -
ads_config 3 - m55 -
~envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig
@envoy.config.bootstrap.v3.Bootstrap.DeferredStatOptions
enable_deferred_creation_stats 1 - o -
@envoy.config.bootstrap.v3.Bootstrap.GrpcAsyncClientManagerConfig
max_cached_entry_idle_duration 1 - m23 -
@envoy.config.bootstrap.v3.Admin
access_log 5 * m1 -
access_log_path 1 - s -
profile_path 2 - s -
address 3 - m21 -
socket_options 4 * m4 -
ignore_global_conn_limit 6 - o -
allow_paths 7 * m74 -
@envoy.config.bootstrap.v3.ClusterManager
local_cluster_name 1 - s -
outlier_detection 2 - m172 -
upstream_bind_config 3 - m20 -
load_stats_config 4 - m55 -
enable_deferred_cluster_creation 5 - o -
@envoy.config.bootstrap.v3.ClusterManager.OutlierDetection
event_log_path 1 - s -
event_service 2 - m64 -
~envoy.config.bootstrap.v3.Watchdogs
~envoy.config.bootstrap.v3.Watchdog
~envoy.config.bootstrap.v3.FatalAction
@envoy.config.bootstrap.v3.RuntimeLayer
name 1 - s -
static_layer 2 - m28 0
disk_layer 3 - m177 0
admin_layer 4 - m178 0
rtds_layer 5 - m179 0
@envoy.config.bootstrap.v3.RuntimeLayer.DiskLayer
symlink_root 1 - s -
subdirectory 3 - s -
append_service_cluster 2 - o -
@envoy.config.bootstrap.v3.RuntimeLayer.AdminLayer
@envoy.config.bootstrap.v3.RuntimeLayer.RtdsLayer
name 1 - s -
rtds_config 2 - m60 -
@envoy.config.bootstrap.v3.LayeredRuntime
layers 1 * m176 -
~envoy.config.bootstrap.v3.CustomInlineHeader
~envoy.config.bootstrap.v3.MemoryAllocatorManager
~envoy.config.common.matcher.v3.MatchPredicate
~envoy.config.common.mutation_rules.v3.HeaderMutation
~xds.core.v3.CidrRange
@envoy.type.matcher.v3.AddressMatcher
ranges 1 * m185 -
@envoy.type.matcher.v3.FilterStateMatcher
key 1 - s -
string_match 2 - m74 0
address_match 3 - m186 0
@envoy.type.matcher.v3.DoubleMatcher
range 1 - m77 0
exact 2 - d 0
@envoy.type.matcher.v3.ValueMatcher
null_match 1 - m190 0
double_match 2 - m188 0
string_match 3 - m74 0
bool_match 4 - o 0
present_match 5 - o 0
list_match 6 - m191 0
or_match 7 - m192 0
@envoy.type.matcher.v3.ValueMatcher.NullMatch
@envoy.type.matcher.v3.ListMatcher
one_of 1 - m189 0
@envoy.type.matcher.v3.OrMatcher
value_matchers 1 * m189 -
@envoy.type.matcher.v3.MetadataMatcher
filter 1 - s -
path 2 * m194 -
value 3 - m189 -
invert 4 - o -
@envoy.type.matcher.v3.MetadataMatcher.PathSegment
key 1 - s 0
@envoy.config.route.v3.VirtualHost
name 1 - s -
domains 2 * s -
routes 3 * m197 -
matcher 21 - m110 -
require_tls 4 - e29 -
virtual_clusters 5 * m230 -
rate_limits 6 * m231 -
request_headers_to_add 7 * m39 -
request_headers_to_remove 13 * s -
response_headers_to_add 10 * m39 -
response_headers_to_remove 11 * s -
cors 8 - m205 -
typed_per_filter_config 15 %s m0 -
include_request_attempt_count 14 - o -
include_attempt_count_in_response 19 - o -
retry_policy 16 - m218 -
retry_policy_typed_config 20 - m0 -
hedge_policy 17 - m224 -
include_is_timeout_retry_header 23 - o -
per_request_buffer_limit_bytes 18 - m11 -
request_body_buffer_limit 25 - m9 -
request_mirror_policies 22 * m207 -
metadata 24 - m36 -
@envoy.config.route.v3.FilterAction
action 1 - m0 -
@envoy.config.route.v3.Route
name 14 - s -
match 1 - m201 -
route 2 - m206 0
redirect 3 - m225 0
direct_response 7 - m226 0
filter_action 17 - m196 0
non_forwarding_action 18 - m227 0
metadata 4 - m36 -
decorator 5 - m228 -
typed_per_filter_config 13 %s m0 -
request_headers_to_add 9 * m39 -
request_headers_to_remove 12 * s -
response_headers_to_add 10 * m39 -
response_headers_to_remove 11 * s -
tracing 15 - m229 -
per_request_buffer_limit_bytes 16 - m11 -
stat_prefix 19 - s -
request_body_buffer_limit 20 - m9 -
@envoy.config.route.v3.WeightedCluster
clusters 1 * m199 -
total_weight 3 - m11 -
runtime_key_prefix 2 - s -
header_name 4 - s 0
use_hash_policy 5 - m12 0
@envoy.config.route.v3.WeightedCluster.ClusterWeight
name 1 - s -
cluster_header 12 - s -
weight 2 - m11 -
metadata_match 3 - m36 -
request_headers_to_add 4 * m39 -
request_headers_to_remove 9 * s -
response_headers_to_add 5 * m39 -
response_headers_to_remove 6 * s -
typed_per_filter_config 10 %s m0 -
host_rewrite_literal 11 - s 0
~envoy.config.route.v3.ClusterSpecifierPlugin
@envoy.config.route.v3.RouteMatch
prefix 1 - s 0
path 2 - s 0
safe_regex 10 - m70 0
connect_matcher 12 - m204 0
path_separated_prefix 14 - s 0
path_match_policy 15 - m3 0
case_sensitive 4 - m12 -
runtime_fraction 9 - m46 -
headers 6 * m232 -
query_parameters 7 * m233 -
grpc 8 - m202 -
tls_context 11 - m203 -
dynamic_metadata 13 * m193 -
filter_state 16 * m187 -
@envoy.config.route.v3.RouteMatch.GrpcRouteMatchOptions
@envoy.config.route.v3.RouteMatch.TlsContextMatchOptions
presented 1 - m12 -
validated 2 - m12 -
@envoy.config.route.v3.RouteMatch.ConnectMatcher
~envoy.config.route.v3.CorsPolicy
@envoy.config.route.v3.RouteAction
cluster 1 - s 0
cluster_header 2 - s 0
weighted_clusters 3 - m198 0
cluster_specifier_plugin 37 - s 0
inline_cluster_specifier_plugin 39 - m200 0
cluster_not_found_response_code 20 - e30 -
metadata_match 4 - m36 -
prefix_rewrite 5 - s -
regex_rewrite 32 - m72 -
path_rewrite_policy 41 - m3 -
path_rewrite 45 - s -
host_rewrite_literal 6 - s 1
auto_host_rewrite 7 - m12 1
host_rewrite_header 29 - s 1
host_rewrite_path_regex 35 - m72 1
host_rewrite 44 - s 1
append_x_forwarded_host 38 - o -
timeout 8 - m23 -
idle_timeout 24 - m23 -
flush_timeout 42 - m23 -
early_data_policy 40 - m3 -
retry_policy 9 - m218 -
retry_policy_typed_config 33 - m0 -
request_mirror_policies 30 * m207 -
priority 11 - e4 -
rate_limits 13 * m231 -
include_vh_rate_limits 14 - m12 -
hash_policy 15 * m208 -
cors 17 - m205 -
max_grpc_timeout 23 - m23 -
grpc_timeout_offset 28 - m23 -
upgrade_configs 25 * m215 -
internal_redirect_policy 34 - m234 -
internal_redirect_action 26 - e31 -
max_internal_redirects 31 - m11 -
hedge_policy 27 - m224 -
max_stream_duration 36 - m217 -
@envoy.config.route.v3.RouteAction.RequestMirrorPolicy
cluster 1 - s -
cluster_header 5 - s -
runtime_fraction 3 - m46 -
trace_sampled 4 - m12 -
disable_shadow_host_suffix_append 6 - o -
request_headers_mutations 7 * m184 -
host_rewrite_literal 8 - s -
@envoy.config.route.v3.RouteAction.HashPolicy
header 1 - m209 0
cookie 2 - m211 0
connection_properties 3 - m212 0
query_parameter 5 - m213 0
filter_state 6 - m214 0
terminal 4 - o -
@envoy.config.route.v3.RouteAction.HashPolicy.Header
header_name 1 - s -
regex_rewrite 2 - m72 -
@envoy.config.route.v3.RouteAction.HashPolicy.CookieAttribute
name 1 - s -
value 2 - s -
@envoy.config.route.v3.RouteAction.HashPolicy.Cookie
name 1 - s -
ttl 2 - m23 -
path 3 - s -
attributes 4 * m210 -
@envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties
source_ip 1 - o -
@envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter
name 1 - s -
@envoy.config.route.v3.RouteAction.HashPolicy.FilterState
key 1 - s -
@envoy.config.route.v3.RouteAction.UpgradeConfig
upgrade_type 1 - s -
enabled 2 - m12 -
connect_config 3 - m216 -
@envoy.config.route.v3.RouteAction.UpgradeConfig.ConnectConfig
proxy_protocol_config 1 - m69 -
allow_post 2 - o -
@envoy.config.route.v3.RouteAction.MaxStreamDuration
max_stream_duration 1 - m23 -
grpc_timeout_header_max 2 - m23 -
grpc_timeout_header_offset 3 - m23 -
@envoy.config.route.v3.RetryPolicy
retry_on 1 - s -
num_retries 2 - m11 -
per_try_timeout 3 - m23 -
per_try_idle_timeout 13 - m23 -
retry_priority 4 - m219 -
retry_host_predicate 5 * m220 -
retry_options_predicates 12 * m3 -
host_selection_retry_max_attempts 6 - I -
retriable_status_codes 7 * u -
retry_back_off 8 - m221 -
rate_limited_retry_back_off 11 - m223 -
retriable_headers 9 * m232 -
retriable_request_headers 10 * m232 -
@envoy.config.route.v3.RetryPolicy.RetryPriority
name 1 - s -
typed_config 3 - m0 0
@envoy.config.route.v3.RetryPolicy.RetryHostPredicate
name 1 - s -
typed_config 3 - m0 0
@envoy.config.route.v3.RetryPolicy.RetryBackOff
base_interval 1 - m23 -
max_interval 2 - m23 -
@envoy.config.route.v3.RetryPolicy.ResetHeader
name 1 - s -
format 2 - e32 -
@envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff
reset_headers 1 * m222 -
max_interval 2 - m23 -
@envoy.config.route.v3.HedgePolicy
initial_requests 1 - m11 -
additional_request_chance 2 - m26 -
hedge_on_per_try_timeout 3 - o -
@envoy.config.route.v3.RedirectAction
https_redirect 4 - o 0
scheme_redirect 7 - s 0
host_redirect 1 - s -
port_redirect 8 - u -
path_redirect 2 - s 1
prefix_rewrite 5 - s 1
regex_rewrite 9 - m72 1
response_code 3 - e33 -
strip_query 6 - o -
@envoy.config.route.v3.DirectResponseAction
status 1 - u -
body 2 - m41 -
body_format 3 - m66 -
@envoy.config.route.v3.NonForwardingAction
@envoy.config.route.v3.Decorator
operation 1 - s -
propagate 2 - m12 -
~envoy.config.route.v3.Tracing
~envoy.config.route.v3.VirtualCluster
~envoy.config.route.v3.RateLimit
@envoy.config.route.v3.HeaderMatcher
name 1 - s -
exact_match 4 - s 0
safe_regex_match 11 - m70 0
range_match 6 - m75 0
present_match 7 - o 0
prefix_match 9 - s 0
suffix_match 10 - s 0
contains_match 12 - s 0
string_match 13 - m74 0
invert_match 8 - o -
treat_missing_header_as_empty 14 - o -
@envoy.config.route.v3.QueryParameterMatcher
name 1 - s -
string_match 5 - m74 0
present_match 6 - o 0
~envoy.config.route.v3.InternalRedirectPolicy
@envoy.config.route.v3.FilterConfig
config 1 - m0 -
is_optional 2 - o -
disabled 3 - o -
@envoy.config.route.v3.RouteConfiguration
name 1 - s -
virtual_hosts 2 * m195 -
vhds 9 - m237 -
internal_only_headers 3 * s -
response_headers_to_add 4 * m39 -
response_headers_to_remove 5 * s -
request_headers_to_add 6 * m39 -
request_headers_to_remove 8 * s -
most_specific_header_mutations_wins 10 - o -
validate_clusters 7 - m12 -
max_direct_response_body_size_bytes 11 - m11 -
cluster_specifier_plugins 12 * m200 -
request_mirror_policies 13 * m207 -
ignore_port_in_host_matching 14 - o -
vhost_header 18 - s -
ignore_path_parameters_in_path_matching 15 - o -
typed_per_filter_config 16 %s m0 -
metadata 17 - m36 -
~envoy.config.route.v3.Vhds
@envoy.extensions.access_loggers.file.v3.FileAccessLog
path 1 - s -
format 2 - s 0
json_format 3 - m28 0
typed_json_format 4 - m28 0
log_format 5 - m66 0
@envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
log_format 1 - m66 0
@envoy.extensions.access_loggers.stream.v3.StderrAccessLog
log_format 1 - m66 0
@envoy.extensions.clusters.aggregate.v3.ClusterConfig
clusters 1 * s -
@envoy.extensions.clusters.dns.v3.DnsCluster
dns_refresh_rate 3 - m23 -
dns_failure_refresh_rate 4 - m243 -
respect_dns_ttl 5 - o -
dns_jitter 6 - m23 -
typed_dns_resolver_config 7 - m3 -
dns_lookup_family 8 - e34 -
all_addresses_in_single_endpoint 9 - o -
@envoy.extensions.clusters.dns.v3.DnsCluster.RefreshRate
base_interval 1 - m23 -
max_interval 2 - m23 -
~envoy.type.http.v3.PathTransformation
@envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
codec_type 1 - e35 -
stat_prefix 2 - s -
rds 3 - m254 0
route_config 4 - m236 0
scoped_routes 31 - m255 0
http_filters 5 * m256 -
add_user_agent 6 - m12 -
tracing 7 - m246 -
common_http_protocol_options 35 - m89 -
http1_safe_max_connection_duration 58 - o -
http_protocol_options 8 - m90 -
http2_protocol_options 9 - m94 -
http3_protocol_options 44 - m96 -
server_name 10 - s -
server_header_transformation 34 - e36 -
scheme_header_transformation 48 - m97 -
max_request_headers_kb 29 - m11 -
stream_idle_timeout 24 - m23 -
stream_flush_timeout 59 - m23 -
request_timeout 28 - m23 -
request_headers_timeout 41 - m23 -
drain_timeout 12 - m23 -
delayed_close_timeout 26 - m23 -
access_log 13 * m1 -
access_log_flush_interval 54 - m23 -
flush_access_log_on_new_request 55 - o -
access_log_options 56 - m252 -
use_remote_address 14 - m12 -
xff_num_trusted_hops 19 - u -
original_ip_detection_extensions 46 * m3 -
early_header_mutation_extensions 52 * m3 -
internal_address_config 25 - m247 -
skip_xff_append 21 - o -
via 22 - s -
generate_request_id 15 - m12 -
preserve_external_request_id 32 - o -
always_set_request_id_in_response 37 - o -
forward_client_cert_details 16 - e37 -
set_current_client_cert_details 17 - m248 -
forward_client_cert_matcher 60 - m110 -
proxy_100_continue 18 - o -
represent_ipv4_remote_address_as_ipv4_mapped_ipv6 20 - o -
upgrade_configs 23 * m249 -
normalize_path 30 - m12 -
merge_slashes 33 - o -
path_with_escaped_slashes_action 45 - e38 -
request_id_extension 36 - m257 -
local_reply_config 38 - m253 -
strip_matching_host_port 39 - o -
strip_any_host_port 42 - o 1
stream_error_on_invalid_http_message 40 - m12 -
path_normalization_options 43 - m250 -
strip_trailing_host_dot 47 - o -
proxy_status_config 49 - m251 -
typed_header_validation_config 50 - m3 -
append_x_forwarded_port 51 - o -
append_local_overload 57 - o -
add_proxy_protocol_connection_state 53 - m12 -
~envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing
@envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.InternalAddressConfig
unix_sockets 1 - o -
cidr_ranges 2 * m22 -
@envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.SetCurrentClientCertDetails
subject 1 - m12 -
cert 3 - o -
chain 6 - o -
dns 4 - o -
uri 5 - o -
@envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig
upgrade_type 1 - s -
filters 2 * m256 -
enabled 3 - m12 -
@envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.PathNormalizationOptions
forwarding_transformation 1 - m244 -
http_filter_transformation 2 - m244 -
@envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.ProxyStatusConfig
remove_details 1 - o -
remove_connection_termination_details 2 - o -
remove_response_flags 3 - o -
set_recommended_response_code 4 - o -
use_node_id 5 - o 0
literal_proxy_name 6 - s 0
@envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.HcmAccessLogOptions
access_log_flush_interval 1 - m23 -
flush_access_log_on_new_request 2 - o -
flush_log_on_tunnel_successfully_established 3 - o -
~envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig
@envoy.extensions.filters.network.http_connection_manager.v3.Rds
config_source 1 - m60 -
route_config_name 2 - s -
~envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes
@envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter
name 1 - s -
typed_config 4 - m0 0
config_discovery 5 - m61 0
is_optional 6 - o -
disabled 7 - o -
@envoy.extensions.filters.network.http_connection_manager.v3.RequestIDExtension
typed_config 1 - m0 -
@envoy.extensions.filters.http.router.v3.Router
dynamic_stats 1 - m12 -
start_child_span 2 - o -
upstream_log 3 * m1 -
upstream_log_options 9 - m259 -
suppress_envoy_headers 4 - o -
strict_check_headers 5 * s -
respect_expected_rq_timeout 6 - o -
suppress_grpc_request_failure_code_stats 7 - o -
upstream_http_filters 8 * m256 -
@envoy.extensions.filters.http.router.v3.Router.UpstreamAccessLogOptions
flush_upstream_log_on_upstream_stream 1 - o -
upstream_log_flush_interval 2 - m23 -
@envoy.extensions.filters.http.stateful_session.v3.StatefulSession
session_state 1 - m3 -
strict 2 - o -
@envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute
disabled 1 - o 0
stateful_session 2 - m260 0
@envoy.extensions.filters.listener.http_inspector.v3.HttpInspector
@envoy.extensions.filters.listener.original_dst.v3.OriginalDst
@envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector
enable_ja3_fingerprinting 1 - m12 -
enable_ja4_fingerprinting 3 - m12 -
initial_read_buffer_size 2 - m11 -
close_connection_on_client_hello_parsing_errors 4 - o -
max_client_hello_size 5 - m11 -
@envoy.type.v3.HashPolicy
source_ip 1 - m266 0
filter_state 2 - m267 0
@envoy.type.v3.HashPolicy.SourceIp
@envoy.type.v3.HashPolicy.FilterState
key 1 - s -
@envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
stat_prefix 1 - s -
cluster 2 - s 0
weighted_clusters 10 - m269 0
on_demand 14 - m272 -
metadata_match 9 - m36 -
idle_timeout 8 - m23 -
downstream_idle_timeout 3 - m23 -
upstream_idle_timeout 4 - m23 -
access_log 5 * m1 -
max_connect_attempts 7 - m11 -
backoff_options 18 - m24 -
hash_policy 11 * m265 -
tunneling_config 12 - m271 -
max_downstream_connection_duration 13 - m23 -
max_downstream_connection_duration_jitter_percentage 20 - m25 -
access_log_flush_interval 15 - m23 -
flush_access_log_on_connected 16 - o -
access_log_options 17 - m273 -
proxy_protocol_tlvs 19 * m68 -
upstream_connect_mode 21 - e39 -
max_early_data_bytes 22 - m11 -
@envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster
clusters 1 * m270 -
@envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight
name 1 - s -
weight 2 - u -
metadata_match 3 - m36 -
@envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig
hostname 1 - s -
use_post 2 - o -
headers_to_add 3 * m39 -
propagate_response_headers 4 - o -
post_path 5 - s -
propagate_response_trailers 6 - o -
request_id_extension 7 - m257 -
request_id_header 8 - s -
request_id_metadata_key 9 - s -
~envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.OnDemand
@envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TcpAccessLogOptions
access_log_flush_interval 1 - m23 -
flush_access_log_on_connected 2 - o -
@envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink
event_log_path 1 - s -
@envoy.type.http.v3.Cookie
name 1 - s -
ttl 2 - m23 -
path 3 - s -
attributes 4 * m276 -
@envoy.type.http.v3.CookieAttribute
name 1 - s -
value 2 - s -
@envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState
cookie 1 - m275 -
@envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState
name 1 - s -
override_mode_config 2 - m279 -
packages_mode_config 3 - m280 -
@envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState.OverrideModeConfig
@envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState.PackagesModeConfig
@envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig
zone_aware_lb_config 1 - m282 0
locality_weighted_lb_config 2 - m284 0
@envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig
routing_enabled 1 - m25 -
min_cluster_size 2 - m9 -
fail_traffic_on_panic 3 - o -
force_locality_direct_routing 4 - o -
force_local_zone 5 - m283 -
locality_basis 6 - e40 -
@envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig.ForceLocalZone
min_size 1 - m11 -
@envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.LocalityWeightedLbConfig
@envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig
slow_start_window 1 - m23 -
aggression 2 - m37 -
min_weight_percent 3 - m25 -
@envoy.extensions.load_balancing_policies.common.v3.ConsistentHashingLbConfig
use_hostname_for_hashing 1 - o -
hash_balance_factor 2 - m11 -
hash_policy 3 * m208 -
@envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin
enable_oob_load_report 1 - m12 -
oob_reporting_period 2 - m23 -
blackout_period 3 - m23 -
weight_expiration_period 4 - m23 -
weight_update_period 5 - m23 -
error_utilization_penalty 6 - m7 -
metric_names_for_computing_utilization 7 * s -
slow_start_config 8 - m285 -
@envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest
choice_count 1 - m11 -
active_request_bias 2 - m37 -
slow_start_config 3 - m285 -
locality_lb_config 4 - m281 -
enable_full_scan 5 - m12 -
selection_method 6 - e41 -
@envoy.extensions.load_balancing_policies.maglev.v3.Maglev
table_size 1 - m9 -
consistent_hashing_lb_config 2 - m286 -
locality_weighted_lb_config 3 - m284 -
@envoy.extensions.load_balancing_policies.random.v3.Random
locality_lb_config 1 - m281 -
@envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash
hash_function 1 - e42 -
minimum_ring_size 2 - m9 -
maximum_ring_size 3 - m9 -
use_hostname_for_hashing 4 - o -
hash_balance_factor 5 - m11 -
consistent_hashing_lb_config 6 - m286 -
locality_weighted_lb_config 7 - m284 -
@envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin
slow_start_config 1 - m285 -
locality_lb_config 2 - m281 -
@envoy.extensions.load_balancing_policies.subset.v3.Subset
fallback_policy 1 - e44 -
default_subset 2 - m28 -
subset_selectors 3 * m294 -
locality_weight_aware 4 - o -
scale_locality_weight 5 - o -
panic_mode_any 6 - o -
list_as_any 7 - o -
metadata_fallback_policy 8 - e45 -
subset_lb_policy 9 - m129 -
allow_redundant_keys 10 - o -
@envoy.extensions.load_balancing_policies.subset.v3.Subset.LbSubsetSelector
keys 1 * s -
single_host_per_subset 4 - o -
fallback_policy 2 - e43 -
fallback_keys_subset 3 * s -
@envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality
endpoint_picking_policy 1 - m129 -
@envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig
pack_trace_reason 1 - m12 -
use_request_id_for_trace_sampling 2 - m12 -
@envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate
@envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig
metadata_match 1 - m36 -
@envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate
@envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig
update_frequency 1 - i -
@envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer
@envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
common_tls_context 1 - m305 -
sni 2 - s -
auto_host_sni 6 - o -
auto_sni_san_validation 7 - o -
allow_renegotiation 3 - o -
max_session_keys 4 - m11 -
enforce_rsa_key_usage 5 - m12 -
@envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
common_tls_context 1 - m305 -
require_client_certificate 2 - m12 -
require_sni 3 - m12 -
session_ticket_keys 4 - m156 0
session_ticket_keys_sds_secret_config 5 - m162 0
disable_stateless_session_resumption 7 - o 0
disable_stateful_session_resumption 10 - o -
session_timeout 6 - m23 -
ocsp_staple_policy 8 - e46 -
full_scan_certs_on_sni_mismatch 9 - m12 -
prefer_client_ciphers 11 - o -
@envoy.extensions.transport_sockets.tls.v3.TlsKeyLog
path 1 - s -
local_address_range 2 * m22 -
remote_address_range 3 * m22 -
@envoy.extensions.transport_sockets.tls.v3.CommonTlsContext
tls_params 1 - m153 -
tls_certificates 2 * m155 -
tls_certificate_sds_secret_configs 6 * m162 -
tls_certificate_provider_instance 14 - m157 -
custom_tls_certificate_selector 16 - m3 -
tls_certificate_certificate_provider 9 - m306 -
tls_certificate_certificate_provider_instance 11 - m307 -
validation_context 3 - m159 0
validation_context_sds_secret_config 7 - m162 0
combined_validation_context 8 - m308 0
validation_context_certificate_provider 10 - m306 0
validation_context_certificate_provider_instance 12 - m307 0
alpn_protocols 4 * s -
custom_handshaker 13 - m3 -
key_log 15 - m304 -
@envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CertificateProvider
name 1 - s -
typed_config 2 - m3 0
@envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CertificateProviderInstance
instance_name 1 - s -
certificate_name 2 - s -
@envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext
default_validation_context 1 - m159 -
validation_context_sds_secret_config 2 - m162 -
validation_context_certificate_provider 3 - m306 -
validation_context_certificate_provider_instance 4 - m307 -
@envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig
trust_domains 1 * m310 -
trust_bundles 2 - m41 -
@envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig.TrustDomain
name 1 - s -
trust_bundle 2 - m41 -
@envoy.extensions.upstreams.http.v3.HttpProtocolOptions
common_http_protocol_options 1 - m89 -
upstream_http_protocol_options 2 - m86 -
explicit_http_config 3 - m312 0
use_downstream_protocol_config 4 - m313 0
auto_config 5 - m314 0
http_filters 6 * m256 -
header_validation_config 7 - m3 -
outlier_detection 8 - m315 -
request_mirror_policies 9 * m207 -
hash_policy 10 * m208 -
retry_policy 11 - m218 -
@envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig
http_protocol_options 1 - m90 0
http2_protocol_options 2 - m94 0
http3_protocol_options 3 - m96 0
@envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig
http_protocol_options 1 - m90 -
http2_protocol_options 2 - m94 -
http3_protocol_options 3 - m96 -
@envoy.extensions.upstreams.http.v3.HttpProtocolOptions.AutoHttpConfig
http_protocol_options 1 - m90 -
http2_protocol_options 2 - m94 -
http3_protocol_options 3 - m96 -
alternate_protocols_cache_options 4 - m87 -
@envoy.extensions.upstreams.http.v3.HttpProtocolOptions.OutlierDetection
error_matcher 1 - m183 -
@google.rpc.Status
code 1 - i -
message 2 - s -
details 3 * m0 -
@envoy.service.discovery.v3.ResourceLocator
name 1 - s -
dynamic_parameters 2 %s s -
@envoy.service.discovery.v3.ResourceName
name 1 - s -
dynamic_parameter_constraints 2 - m324 -
@envoy.service.discovery.v3.ResourceError
resource_name 1 - m318 -
error_detail 2 - m316 -
@envoy.service.discovery.v3.DiscoveryRequest
version_info 1 - s -
node 2 - m35 -
resource_names 3 * s -
resource_locators 7 * m317 -
type_url 4 - s -
response_nonce 5 - s -
error_detail 6 - m316 -
@envoy.service.discovery.v3.DiscoveryResponse
version_info 1 - s -
resources 2 * m0 -
canary 3 - o -
type_url 4 - s -
nonce 5 - s -
control_plane 6 - m47 -
resource_errors 7 * m319 -
@envoy.service.discovery.v3.DeltaDiscoveryRequest
node 1 - m35 -
type_url 2 - s -
resource_names_subscribe 3 * s -
resource_names_unsubscribe 4 * s -
resource_locators_subscribe 8 * m317 -
resource_locators_unsubscribe 9 * m317 -
initial_resource_versions 5 %s s -
response_nonce 6 - s -
error_detail 7 - m316 -
@envoy.service.discovery.v3.DeltaDiscoveryResponse
system_version_info 1 - s -
resources 2 * m325 -
type_url 4 - s -
removed_resources 6 * s -
removed_resource_names 8 * m318 -
nonce 5 - s -
control_plane 7 - m47 -
resource_errors 9 * m319 -
~envoy.service.discovery.v3.DynamicParameterConstraints
@envoy.service.discovery.v3.Resource
name 3 - s -
resource_name 8 - m318 -
aliases 4 * s -
version 1 - s -
resource 2 - m0 -
ttl 6 - m23 -
cache_control 7 - m326 -
metadata 9 - m36 -
@envoy.service.discovery.v3.Resource.CacheControl
do_not_cache 1 - o -
@meshproxy.config.v1.MeshProxy
failover_mode 1 - e47 -
snapshot_file 2 - s -
shrink_guard 3 - m328 -
transport_failures_to_eject 4 - m11 -
base_hold 5 - m23 -
max_hold 6 - m23 -
remote_connect_timeout 7 - m23 -
ping_interval 8 - m23 -
ping_timeout 9 - m23 -
control_plane_timeout 10 - m23 -
control_plane_return_hold 11 - m23 -
drain_time 12 - m23 -
series_budget 13 - m11 -
failover 20 - m329 -
allow_admin_changes 21 - o -
hedging 30 - m332 -
queue_timeout 31 - m23 -
drain_propagation_delay 32 - m23 -
@meshproxy.config.v1.MeshProxy.ShrinkGuard
disabled 1 - o -
max_loss_percent 2 - m11 -
release_after 3 - m23 -
@meshproxy.config.v1.MeshProxy.Failover
failback 1 - m330 -
spill 2 - m331 -
@meshproxy.config.v1.MeshProxy.Failover.Failback
disabled 1 - o -
min_hold 2 - m23 -
max_hold 3 - m23 -
ramp 4 - m23 -
max_error_percent 5 - m11 -
@meshproxy.config.v1.MeshProxy.Failover.Spill
max_requests_per_second 1 - m11 -
max_growth_percent 2 - m11 -
retry_after 3 - m23 -
@meshproxy.config.v1.MeshProxy.Hedging
enabled 1 - o -
min_delay 2 - m23 -
@meshproxy.config.v1.PeakEwma
decay_time 1 - m23 -
failure_penalty 2 - m23 -
prices 3 * m334 -
@meshproxy.config.v1.PeakEwma.Price
from 1 - m32 -
to 2 - m32 -
factor 3 - d -
@udpa.type.v1.TypedStruct
type_url 1 - s -
value 2 - m28 -
@xds.type.v3.TypedStruct
type_url 1 - s -
value 2 - m28 -
"""
    static let enums: StaticString = """
@envoy.config.core.v3.SocketAddress.Protocol
TCP 0
UDP 1
@envoy.type.v3.FractionalPercent.DenominatorType
HUNDRED 0
TEN_THOUSAND 1
MILLION 2
@google.protobuf.NullValue
NULL_VALUE 0
@envoy.config.core.v3.HeaderValueOption.HeaderAppendAction
APPEND_IF_EXISTS_OR_ADD 0
ADD_IF_ABSENT 1
OVERWRITE_IF_EXISTS_OR_ADD 2
OVERWRITE_IF_EXISTS 3
@envoy.config.core.v3.RoutingPriority
DEFAULT 0
HIGH 1
@envoy.config.core.v3.RequestMethod
METHOD_UNSPECIFIED 0
GET 1
HEAD 2
POST 3
PUT 4
DELETE 5
CONNECT 6
OPTIONS 7
TRACE 8
PATCH 9
@envoy.config.core.v3.TrafficDirection
UNSPECIFIED 0
INBOUND 1
OUTBOUND 2
@envoy.config.core.v3.ApiConfigSource.ApiType
DEPRECATED_AND_UNAVAILABLE_DO_NOT_USE 0
REST 1
GRPC 2
DELTA_GRPC 3
AGGREGATED_GRPC 5
AGGREGATED_DELTA_GRPC 6
@envoy.config.core.v3.ApiVersion
AUTO 0
V2 1
V3 2
@envoy.config.core.v3.ProxyProtocolPassThroughTLVs.PassTLVsMatchType
INCLUDE_ALL 0
INCLUDE 1
@envoy.config.core.v3.ProxyProtocolConfig.Version
V1 0
V2 1
@envoy.type.v3.CodecClientType
HTTP1 0
HTTP2 1
HTTP3 2
@envoy.config.core.v3.HealthStatus
UNKNOWN 0
HEALTHY 1
UNHEALTHY 2
DRAINING 3
TIMEOUT 4
DEGRADED 5
@envoy.config.core.v3.HttpProtocolOptions.HeadersWithUnderscoresAction
ALLOW 0
REJECT_REQUEST 1
DROP_HEADER 2
@envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector.LbSubsetSelectorFallbackPolicy
NOT_DEFINED 0
NO_FALLBACK 1
ANY_ENDPOINT 2
DEFAULT_SUBSET 3
KEYS_SUBSET 4
@envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetFallbackPolicy
NO_FALLBACK 0
ANY_ENDPOINT 1
DEFAULT_SUBSET 2
@envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetMetadataFallbackPolicy
METADATA_NO_FALLBACK 0
FALLBACK_LIST 1
@envoy.config.cluster.v3.Cluster.RingHashLbConfig.HashFunction
XX_HASH 0
MURMUR_HASH_2 1
@envoy.config.cluster.v3.Cluster.DiscoveryType
STATIC 0
STRICT_DNS 1
LOGICAL_DNS 2
EDS 3
ORIGINAL_DST 4
@envoy.config.cluster.v3.Cluster.LbPolicy
ROUND_ROBIN 0
LEAST_REQUEST 1
RING_HASH 2
RANDOM 3
MAGLEV 5
CLUSTER_PROVIDED 6
LOAD_BALANCING_POLICY_CONFIG 7
@envoy.config.cluster.v3.Cluster.DnsLookupFamily
AUTO 0
V4_ONLY 1
V6_ONLY 2
V4_PREFERRED 3
ALL 4
@envoy.config.cluster.v3.Cluster.ClusterProtocolSelection
USE_CONFIGURED_PROTOCOL 0
USE_DOWNSTREAM_PROTOCOL 1
@envoy.config.cluster.v3.UpstreamConnectionOptions.FirstAddressFamilyVersion
DEFAULT 0
V4 1
V6 2
@envoy.config.listener.v3.FilterChainMatch.ConnectionSourceType
ANY 0
SAME_IP_OR_LOOPBACK 1
EXTERNAL 2
@envoy.config.listener.v3.Listener.DrainType
DEFAULT 0
MODIFY_ONLY 1
@envoy.extensions.transport_sockets.tls.v3.TlsParameters.TlsProtocol
TLS_AUTO 0
TLSv1_0 1
TLSv1_1 2
TLSv1_2 3
TLSv1_3 4
@envoy.extensions.transport_sockets.tls.v3.TlsParameters.CompliancePolicy
FIPS_202205 0
@envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher.SanType
SAN_TYPE_UNSPECIFIED 0
EMAIL 1
DNS 2
URI 3
IP_ADDRESS 4
OTHER_NAME 5
@envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.TrustChainVerification
VERIFY_TRUST_CHAIN 0
ACCEPT_UNTRUSTED 1
@envoy.config.route.v3.VirtualHost.TlsRequirementType
NONE 0
EXTERNAL_ONLY 1
ALL 2
@envoy.config.route.v3.RouteAction.ClusterNotFoundResponseCode
SERVICE_UNAVAILABLE 0
NOT_FOUND 1
INTERNAL_SERVER_ERROR 2
@envoy.config.route.v3.RouteAction.InternalRedirectAction
PASS_THROUGH_INTERNAL_REDIRECT 0
HANDLE_INTERNAL_REDIRECT 1
@envoy.config.route.v3.RetryPolicy.ResetHeaderFormat
SECONDS 0
UNIX_TIMESTAMP 1
@envoy.config.route.v3.RedirectAction.RedirectResponseCode
MOVED_PERMANENTLY 0
FOUND 1
SEE_OTHER 2
TEMPORARY_REDIRECT 3
PERMANENT_REDIRECT 4
@envoy.extensions.clusters.common.dns.v3.DnsLookupFamily
UNSPECIFIED 0
AUTO 1
V4_ONLY 2
V6_ONLY 3
V4_PREFERRED 4
ALL 5
@envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.CodecType
AUTO 0
HTTP1 1
HTTP2 2
HTTP3 3
@envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.ServerHeaderTransformation
OVERWRITE 0
APPEND_IF_ABSENT 1
PASS_THROUGH 2
@envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.ForwardClientCertDetails
SANITIZE 0
FORWARD_ONLY 1
APPEND_FORWARD 2
SANITIZE_SET 3
ALWAYS_FORWARD_ONLY 4
@envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.PathWithEscapedSlashesAction
IMPLEMENTATION_SPECIFIC_DEFAULT 0
KEEP_UNCHANGED 1
REJECT_REQUEST 2
UNESCAPE_AND_REDIRECT 3
UNESCAPE_AND_FORWARD 4
@envoy.extensions.filters.network.tcp_proxy.v3.UpstreamConnectMode
IMMEDIATE 0
ON_DOWNSTREAM_DATA 1
ON_DOWNSTREAM_TLS_HANDSHAKE 2
@envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig.LocalityBasis
HEALTHY_HOSTS_NUM 0
HEALTHY_HOSTS_WEIGHT 1
@envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest.SelectionMethod
N_CHOICES 0
FULL_SCAN 1
@envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash.HashFunction
DEFAULT_HASH 0
XX_HASH 1
MURMUR_HASH_2 2
@envoy.extensions.load_balancing_policies.subset.v3.Subset.LbSubsetSelector.LbSubsetSelectorFallbackPolicy
NOT_DEFINED 0
NO_FALLBACK 1
ANY_ENDPOINT 2
DEFAULT_SUBSET 3
KEYS_SUBSET 4
@envoy.extensions.load_balancing_policies.subset.v3.Subset.LbSubsetFallbackPolicy
NO_FALLBACK 0
ANY_ENDPOINT 1
DEFAULT_SUBSET 2
@envoy.extensions.load_balancing_policies.subset.v3.Subset.LbSubsetMetadataFallbackPolicy
METADATA_NO_FALLBACK 0
FALLBACK_LIST 1
@envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext.OcspStaplePolicy
LENIENT_STAPLING 0
STRICT_STAPLING 1
MUST_STAPLE 2
@meshproxy.config.v1.MeshProxy.FailoverMode
SPILL 0
STRICT 1
"""
}
