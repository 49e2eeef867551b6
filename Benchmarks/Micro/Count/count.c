#include "count.h"
#include <stddef.h>
#include <time.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);

static uint64_t allocations;

void *malloc(size_t count) {
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_malloc(count);
}

void *calloc(size_t count, size_t each) {
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_calloc(count, each);
}

void *realloc(void *old, size_t count) {
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_realloc(old, count);
}

uint64_t mesh_allocations(void) { return __atomic_load_n(&allocations, __ATOMIC_RELAXED); }

uint64_t mesh_processor_time(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}
