#pragma once
#include <stdint.h>

/// How often this program has asked for memory so far.
uint64_t mesh_allocations(void);
/// Processor time of this thread, in nanoseconds.
uint64_t mesh_processor_time(void);
