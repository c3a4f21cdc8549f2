/* A libcuda.so.1 over host memory, with the calls that backends/cuda/driver.py makes: it shows that
   arguments and results pass through cuda.bindings as they should. Everything happens at once. The
   only kernel is `add`; its argument block is (out, x, n, value). Machine code for GPUs is taken, and
   does nothing. Compiled with -DOLD it is a driver that cuda.bindings does not know how to load.
   Environment: FAKE_VERSION, FAKE_CAPABILITY (as 80), FAKE_MEMORY (bytes), FAKE_FAIL
   ("cuMemAlloc=2": that call fails so).
   Signatures: https://docs.nvidia.com/cuda/cuda-driver-api/ */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL(name) if (failing(#name)) return failing(#name)

enum { LAUNCHES = 64, SIZE_BYTES = 64 };

typedef struct { int64_t *block; } Launch;
typedef struct { int count; Launch launches[LAUNCHES]; } Graph;

static size_t used;
static __thread void *current;
static Graph *capturing;

static long setting(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

static int failing(const char *call) {
    const char *text = getenv("FAKE_FAIL");
    size_t length = strlen(call);
    if (text && !strncmp(text, call, length) && text[length] == '=') return atoi(text + length + 1);
    return 0;
}

static void add(const int64_t *block) {
    int64_t *out = (int64_t *)block[0], *x = (int64_t *)block[1];
    for (int64_t i = 0; i < block[2]; i++) out[i] = x[i] + block[3];
}

int cuInit(unsigned flags) { CALL(cuInit); return 0; }
int cuDriverGetVersion(int *out) { *out = (int)setting("FAKE_VERSION", 12040); return 0; }
int cuDeviceGetCount(int *out) { *out = 2; return 0; }
int cuDeviceGet(int *out, int index) { *out = index; return index < 2 ? 0 : 101; }
int cuDeviceTotalMem(size_t *out, int device) { *out = setting("FAKE_MEMORY", 1 << 30); return 0; }

int cuGetErrorName(int code, const char **out) {
    *out = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : code == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS" : NULL;
    return *out ? 0 : 1;
}

int cuGetErrorString(int code, const char **out) {
    *out = code == 2 ? "out of memory" : code == 700 ? "an illegal memory access" : NULL;
    return *out ? 0 : 1;
}

int cuDeviceGetName(char *out, int length, int device) {
    snprintf(out, length, "Fake GPU %d", device);
    return 0;
}

int cuDeviceGetAttribute(int *out, int attribute, int device) {
    long capability = setting("FAKE_CAPABILITY", 80);
    *out = (int)(attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : 0);
    return 0;
}

int cuDevicePrimaryCtxRetain(void **out, int device) {
    CALL(cuDevicePrimaryCtxRetain);
    *out = (void *)(intptr_t)(0x1000 + device);
    return 0;
}

int cuCtxSetCurrent(void *context) {
    if (context && (intptr_t)context >> 4 != 0x100) return 201;
    current = context;
    return 0;
}

int cuCtxGetCurrent(void **out) { *out = current; return 0; }

int cuMemGetInfo(size_t *free, size_t *total) {
    *total = setting("FAKE_MEMORY", 1 << 30);
    *free = *total - used;
    return 0;
}

int cuMemAlloc(uint64_t *out, size_t nbytes) {
    CALL(cuMemAlloc);
    if (!current) return 201;
    if (used + nbytes > (size_t)setting("FAKE_MEMORY", 1 << 30)) return 2;
    char *memory = malloc(nbytes + SIZE_BYTES);
    *(size_t *)memory = nbytes;
    used += nbytes;
    *out = (uint64_t)(memory + SIZE_BYTES);
    return 0;
}

int cuMemFree(uint64_t address) {
    char *memory = (char *)address - SIZE_BYTES;
    used -= *(size_t *)memory;
    free(memory);
    return 0;
}

int cuMemHostAlloc(void **out, size_t nbytes, unsigned flags) {
    CALL(cuMemHostAlloc);
    *out = malloc(nbytes);
    return 0;
}

int cuMemFreeHost(void *address) { free(address); return 0; }

int cuMemcpyHtoDAsync(uint64_t target, const void *host, size_t nbytes, void *stream) {
    CALL(cuMemcpyHtoDAsync);
    memcpy((void *)target, host, nbytes);
    return 0;
}

int cuMemcpyDtoHAsync(void *host, uint64_t source, size_t nbytes, void *stream) {
    memcpy(host, (void *)source, nbytes);
    return 0;
}

int cuMemcpyDtoDAsync(uint64_t target, uint64_t source, size_t nbytes, void *stream) {
    memcpy((void *)target, (void *)source, nbytes);
    return 0;
}

int cuMemsetD8Async(uint64_t target, unsigned char byte, size_t nbytes, void *stream) {
    memset((void *)target, byte, nbytes);
    return 0;
}

int cuModuleLoadData(void **out, const void *image) {
    CALL(cuModuleLoadData);
    int machine_code = !memcmp(image, "\177ELF", 4);
    if (!machine_code && strcmp(image, "module of add")) return 218;
    *out = machine_code ? (void *)0x2001 : (void *)0x2000;
    return 0;
}

int cuModuleGetFunction(void **out, void *module, const char *name) {
    if (strcmp(name, "add") && strncmp(name, "nt_", 3)) return 500;
    *out = (char *)module + 0x1000;
    return 0;
}

int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void *stream, void **parameters, void **extra) {
    CALL(cuLaunchKernel);
    if (!current) return 201;
    if ((intptr_t)function >> 1 != 0x1800 || stream != (void *)0x4000 || extra) return 400;
    if (gx < 1 || gy != 1 || gz != 1 || bx < 1 || by != 1 || bz != 1 || shared) return 1;
    int64_t *block = *(int64_t **)parameters[0];
    if (function != (void *)0x3000) return 0;
    if (capturing) capturing->launches[capturing->count++].block = block;
    else add(block);
    return 0;
}

int cuStreamCreate(void **out, unsigned flags) {
    *out = (void *)0x4000;
    return flags == 1 ? 0 : 1;
}

int cuStreamSynchronize(void *stream) { CALL(cuStreamSynchronize); return 0; }

int cuEventCreate(void **out, unsigned flags) {
    *out = malloc(1);
    return flags == 2 ? 0 : 1;
}

int cuEventRecord(void *event, void *stream) { return stream == (void *)0x4000 ? 0 : 400; }
int cuEventSynchronize(void *event) { CALL(cuEventSynchronize); return 0; }
int cuEventDestroy(void *event) { free(event); return 0; }

int cuStreamBeginCapture(void *stream, int mode) {
    CALL(cuStreamBeginCapture);
    capturing = calloc(1, sizeof(Graph));
    return mode == 1 ? 0 : 1;
}

int cuStreamEndCapture(void *stream, void **out) {
    *out = capturing;
    capturing = NULL;
    return 0;
}

int cuGraphInstantiate(void **out, void *graph, unsigned long long flags) {
    CALL(cuGraphInstantiate);
    *out = memcpy(malloc(sizeof(Graph)), graph, sizeof(Graph));
    return flags ? 1 : 0;
}

int cuGraphDestroy(void *graph) { free(graph); return 0; }
int cuGraphExecDestroy(void *graph) { free(graph); return 0; }

int cuGraphLaunch(void *graph, void *stream) {
    Graph *made = graph;
    for (int i = 0; i < made->count; i++) add(made->launches[i].block);
    return 0;
}

#ifndef OLD /* drivers before CUDA 12 have no such function */
#define KNOWN(name) { #name, (void *)name }

int cuGetProcAddress_v2(const char *symbol, void **out, int version, uint64_t flags, int *status) {
    static const struct { const char *name; void *function; } known[] = {
        KNOWN(cuInit), KNOWN(cuDriverGetVersion), KNOWN(cuDeviceGetCount), KNOWN(cuDeviceGet),
        KNOWN(cuDeviceTotalMem), KNOWN(cuGetErrorName), KNOWN(cuGetErrorString),
        KNOWN(cuDeviceGetName), KNOWN(cuDeviceGetAttribute), KNOWN(cuDevicePrimaryCtxRetain),
        KNOWN(cuCtxSetCurrent), KNOWN(cuCtxGetCurrent), KNOWN(cuMemGetInfo), KNOWN(cuMemAlloc), KNOWN(cuMemFree),
        KNOWN(cuMemHostAlloc), KNOWN(cuMemFreeHost), KNOWN(cuMemcpyHtoDAsync),
        KNOWN(cuMemcpyDtoHAsync), KNOWN(cuMemcpyDtoDAsync), KNOWN(cuMemsetD8Async),
        KNOWN(cuModuleLoadData), KNOWN(cuModuleGetFunction), KNOWN(cuLaunchKernel),
        KNOWN(cuStreamCreate), KNOWN(cuStreamSynchronize), KNOWN(cuEventCreate),
        KNOWN(cuEventRecord), KNOWN(cuEventSynchronize), KNOWN(cuEventDestroy),
        KNOWN(cuStreamBeginCapture), KNOWN(cuStreamEndCapture), KNOWN(cuGraphInstantiate),
        KNOWN(cuGraphDestroy), KNOWN(cuGraphExecDestroy), KNOWN(cuGraphLaunch),
        { "cuGraphInstantiateWithFlags", (void *)cuGraphInstantiate },
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (!strcmp(symbol, known[i].name)) {
            *out = known[i].function;
            return 0;
        }
    }
    *out = NULL;
    return 500;
}
#endif
