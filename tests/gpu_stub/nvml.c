/* A libnvidia-ml.so.1 for the tests: the calls that tulu makes, answered from the environment.
 *
 * NVML_GPUS        how many there are (1)
 * NVML_NAME        what each is called
 * NVML_MIB         its memory (81559)
 * NVML_USED_MIB    what of it is in use (500); with NVML_PROCESS=PID by that process
 * NVML_CAPABILITY  compute capability ("9.0")
 * NVML_UNIFIED     there is no memory of its own: the memory query is not supported
 * NVML_SLICES      GPU 0 is in MIG mode and cut into so many slices; 0 for none yet
 * NVML_ECC         errors of GPU 0's memory that could not be corrected
 * NVML_FAIL        "INDEX:CALL:CODE", such as 1:name:15: that call for that GPU returns that code;
 *                  "init" and "count" are calls of no GPU, with any INDEX
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS, INVALID_ARGUMENT = 2, NOT_SUPPORTED, NOT_FOUND = 6, INSUFFICIENT_SIZE };
enum { SLICE = 100 }; /* handles: a GPU is 1 + index, its slice that and SLICE times 1 + place */

typedef unsigned long long Bytes;
typedef struct { Bytes total, free, used; } Memory;
typedef struct { unsigned pid; Bytes used; unsigned gpu_instance, compute_instance; } Process;

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

static int failing(long device, const char *call) {
    char named[32];
    int index, code;
    const char *text = getenv("NVML_FAIL");
    if (!text || sscanf(text, "%d:%31[^:]:%d", &index, named, &code) != 3) return SUCCESS;
    return (device < 0 || (device - 1) % SLICE == index) && !strcmp(call, named) ? code : SUCCESS;
}

#define OR_FAIL(device, call) \
    do { int code = failing((long)(device), call); if (code) return code; } while (0)

static int text_into(char *buffer, unsigned size, const char *text) {
    return snprintf(buffer, size, "%s", text) < (int)size ? SUCCESS : INSUFFICIENT_SIZE;
}

static Bytes mebibytes(const char *name, long otherwise, void *device) {
    long slices = (long)device > SLICE ? number("NVML_SLICES", 1) : 1;
    return ((Bytes)number(name, otherwise) << 20) / slices;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; OR_FAIL(-1, "init"); return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) {
    return code == 999 ? "Unknown Error" : code == 4 ? "Insufficient Permissions" : "An Error";
}

int nvmlSystemGetDriverVersion(char *buffer, unsigned size) {
    return text_into(buffer, size, "580.95.05");
}

int nvmlSystemGetProcessName(unsigned pid, char *buffer, unsigned size) {
    (void)pid;
    return text_into(buffer, size, "/usr/bin/other");
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    OR_FAIL(-1, "count");
    *count = (unsigned)number("NVML_GPUS", 1);
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    if (index >= (unsigned)number("NVML_GPUS", 1)) return INVALID_ARGUMENT;
    OR_FAIL(index + 1, "handle");
    *device = (void *)(long)(index + 1);
    return SUCCESS;
}

int nvmlDeviceGetName(void *device, char *buffer, unsigned size) {
    const char *name = getenv("NVML_NAME");
    OR_FAIL(device, "name");
    return text_into(buffer, size, name ? name : "NVIDIA H100 80GB HBM3");
}

int nvmlDeviceGetUUID(void *device, char *buffer, unsigned size) {
    char uuid[64];
    OR_FAIL(device, "uuid");
    snprintf(uuid, sizeof uuid, "%s-%08lx", (long)device > SLICE ? "MIG" : "GPU", (long)device);
    return text_into(buffer, size, uuid);
}

int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) {
    OR_FAIL(device, "memory");
    if (getenv("NVML_UNIFIED")) return NOT_SUPPORTED;
    memory->total = mebibytes("NVML_MIB", 81559, device);
    memory->used = mebibytes("NVML_USED_MIB", 500, device);
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    const char *text = getenv("NVML_CAPABILITY");
    OR_FAIL(device, "capability");
    return sscanf(text ? text : "9.0", "%d.%d", major, minor) == 2 ? SUCCESS : INVALID_ARGUMENT;
}

int nvmlDeviceGetTotalEccErrors(void *device, int kind, int counter, Bytes *count) {
    (void)kind, (void)counter;
    OR_FAIL(device, "ecc");
    *count = (long)device == 1 ? (Bytes)number("NVML_ECC", 0) : 0;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, Process *processes) {
    unsigned room = *count;
    OR_FAIL(device, "processes");
    *count = getenv("NVML_PROCESS") ? 1 : 0;
    if (*count > room) return INSUFFICIENT_SIZE;
    if (*count) {
        memset(processes, 0, sizeof *processes);
        processes->pid = (unsigned)number("NVML_PROCESS", 0);
        processes->used = mebibytes("NVML_USED_MIB", 500, device);
    }
    return SUCCESS;
}

int nvmlDeviceGetMigMode(void *device, unsigned *current, unsigned *pending) {
    OR_FAIL(device, "mig");
    if (!getenv("NVML_SLICES")) return NOT_SUPPORTED;
    *current = *pending = (long)device == 1;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *count) {
    (void)device;
    *count = 7;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned place, void **slice) {
    if (place >= (unsigned)number("NVML_SLICES", 0)) return NOT_FOUND;
    *slice = (void *)((long)device + SLICE * (long)(place + 1));
    return SUCCESS;
}
