/*
 * runtime.cc - the emulated card's memory, streams, graphs, events and failures.
 */
#include <stdio.h>
#include <stdlib.h>

#include <atomic>
#include <deque>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "cuda_runtime.h"
#include "enqueue.h"

typedef std::function<void()> work;

struct emulated_stream {
    std::deque<work> queue;
    emulated_graph *captures;
};

struct emulated_graph {
    std::vector<work> nodes;
};

struct emulated_event {
    emulated_stream *stream;
    bool done;
};

namespace {

struct piece {
    size_t size;
    int device;
};

struct machine {
    std::mutex lock; /* of what follows `vanished` */
    emulation what = emulation_default(); /* set while nobody uses it */
    std::atomic<uint64_t> works, launches, waits; /* done since it was set */
    std::atomic<bool> vanished;
    std::unordered_map<void *, piece> pieces;
    std::vector<uint64_t> held;
};

machine &the_machine(void) {
    static machine self;
    return self;
}

thread_local int current_device;
thread_local cudaError_t last_error;

cudaError_t note(cudaError_t error) {
    last_error = error == cudaSuccess ? last_error : error;
    return error;
}

void read_number(const char *text, const char *name, uint64_t *number) {
    const char *found = text == nullptr ? nullptr : strstr(text, name);
    if (found != nullptr) {
        *number = strtoull(found + strlen(name), nullptr, 10);
    }
}

uint64_t &held_by(machine &self, int device) {
    self.held.resize(64);
    return self.held[(size_t)device % 64];
}

/* One kernel or copy. A card that vanished does nothing more. */
void perform(const work &what) {
    machine &self = the_machine();
    uint64_t works = ++self.works;
    if (self.what.fail_after != 0 && works > self.what.fail_after) {
        self.vanished = true;
    }
    if (!self.vanished) {
        what();
    }
}

cudaError_t trouble(void) {
    return the_machine().vanished ? cudaErrorLaunchFailure : cudaSuccess;
}

void drain(cudaStream_t stream) {
    while (!stream->queue.empty()) {
        work next = std::move(stream->queue.front());
        stream->queue.pop_front();
        next();
    }
}

} // namespace

extern "C" emulation emulation_default(void) {
    const char *text = getenv("EMULATED_CUDA");
    uint64_t devices = 1, driver = CUDART_VERSION, memory = 1u << 30, fail_after = 0, choosy = 0;
    read_number(text, "devices=", &devices);
    read_number(text, "driver=", &driver);
    read_number(text, "memory=", &memory);
    read_number(text, "fail_after=", &fail_after);
    read_number(text, "choosy=", &choosy);
    return emulation{ (int)devices, (int)driver, memory, fail_after, (int)choosy };
}

extern "C" void emulation_set(const emulation *what) {
    machine &self = the_machine();
    self.what = *what;
    self.works = 0;
    self.launches = 0;
    self.waits = 0;
    self.vanished = false;
    last_error = cudaSuccess;
}

extern "C" uint64_t emulation_memory_held(void) {
    uint64_t bytes = 0;
    for (uint64_t each : the_machine().held) {
        bytes += each;
    }
    return bytes;
}

extern "C" uint64_t emulation_graph_launches(void) {
    return the_machine().launches;
}

extern "C" uint64_t emulation_waits(void) {
    return the_machine().waits;
}

extern "C" int emulation_is_choosy(void) {
    return the_machine().what.choosy;
}

void emulation_enqueue(cudaStream_t stream, work what) {
    work counted = [what] { perform(what); };
    if (stream->captures != nullptr) {
        stream->captures->nodes.push_back(counted);
    } else {
        stream->queue.push_back(counted);
    }
}

extern "C" void emulation_enqueue_call(cudaStream_t stream, void (*call)(void *context), const void *context, size_t size) {
    std::vector<char> copy((const char *)context, (const char *)context + size);
    emulation_enqueue(stream, [=]() mutable { call(copy.data()); });
}

/* ---- devices ------------------------------------------------------------------------------------------------------ */

const char *cudaGetErrorName(cudaError_t error) {
    switch (error) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInsufficientDriver: return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorNotReady: return "cudaErrorNotReady";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
    }
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorLaunchFailure ? "unspecified launch failure" : cudaGetErrorName(error);
}

cudaError_t cudaGetLastError(void) {
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaDriverGetVersion(int *version) {
    *version = the_machine().what.driver;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count) {
    const emulation &what = the_machine().what;
    if (what.driver < CUDART_VERSION) {
        return note(cudaErrorInsufficientDriver);
    }
    *count = what.devices;
    return what.devices == 0 ? note(cudaErrorNoDevice) : cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device >= the_machine().what.devices) {
        return note(cudaErrorInvalidDevice);
    }
    current_device = device;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device) {
    if (device < 0 || device >= the_machine().what.devices) {
        return note(cudaErrorInvalidDevice);
    }
    *properties = cudaDeviceProp();
    snprintf(properties->name, sizeof properties->name, "Emulated card %d", device);
    properties->uuid.bytes[15] = (char)device;
    properties->totalGlobalMem = the_machine().what.memory_bytes;
    properties->major = 9;
    properties->multiProcessorCount = 1;
    return cudaSuccess;
}

/* ---- memory ------------------------------------------------------------------------------------------------------- */

cudaError_t cudaMalloc(void **data, size_t size) {
    machine &self = the_machine();
    std::lock_guard<std::mutex> guard(self.lock);
    uint64_t &held = held_by(self, current_device);
    if (self.vanished) {
        return note(cudaErrorLaunchFailure);
    }
    if (size > self.what.memory_bytes || held > self.what.memory_bytes - size) {
        return note(cudaErrorMemoryAllocation);
    }
    void *made = nullptr;
    if (posix_memalign(&made, 256, size) != 0) {
        return note(cudaErrorMemoryAllocation);
    }
    memset(made, 0xff, size); /* NaN, in every dtype */
    self.pieces[made] = piece{ size, current_device };
    held += size;
    *data = made;
    return cudaSuccess;
}

cudaError_t cudaFree(void *data) {
    machine &self = the_machine();
    std::lock_guard<std::mutex> guard(self.lock);
    if (data == nullptr) {
        return cudaSuccess;
    }
    auto found = self.pieces.find(data);
    if (found == self.pieces.end()) {
        return note(cudaErrorInvalidValue);
    }
    held_by(self, found->second.device) -= found->second.size;
    self.pieces.erase(found);
    free(data);
    return trouble();
}

/* Memory is there at once; it goes when the stream comes to it. */
cudaError_t cudaMallocAsync(void **data, size_t size, cudaStream_t stream) {
    (void)stream;
    return cudaMalloc(data, size);
}

cudaError_t cudaFreeAsync(void *data, cudaStream_t stream) {
    stream->queue.push_back([data] { (void)cudaFree(data); });
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **data, size_t size) {
    return posix_memalign(data, 256, size) == 0 ? cudaSuccess : note(cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void *data) {
    free(data);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    machine &self = the_machine();
    std::lock_guard<std::mutex> guard(self.lock);
    *total = self.what.memory_bytes;
    *free_bytes = self.what.memory_bytes - held_by(self, current_device);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, enum cudaMemcpyKind kind, cudaStream_t stream) {
    (void)kind;
    emulation_enqueue(stream, [=] { memcpy(to, from, size); });
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *data, int value, size_t size, cudaStream_t stream) {
    emulation_enqueue(stream, [=] { memset(data, value, size); });
    return cudaSuccess;
}

/* ---- streams and graphs --------------------------------------------------------------------------------------------- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    (void)flags;
    *stream = new emulated_stream();
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    drain(stream);
    delete stream;
    return trouble();
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (stream->captures != nullptr) {
        return note(cudaErrorStreamCaptureUnsupported);
    }
    the_machine().waits += !stream->queue.empty();
    drain(stream);
    return note(trouble());
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
    (void)mode;
    stream->captures = new emulated_graph();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    *graph = stream->captures;
    stream->captures = nullptr;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags) {
    (void)flags;
    *executable = new emulated_graph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
    the_machine().launches++;
    for (const work &node : executable->nodes) {
        stream->queue.push_back(node);
    }
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    delete executable;
    return cudaSuccess;
}

/* ---- events --------------------------------------------------------------------------------------------------------- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    (void)flags;
    *event = new emulated_event();
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    event->stream = stream;
    event->done = false;
    stream->queue.push_back([event] { event->done = true; });
    return cudaSuccess;
}

/* Each question lets the card get a little further. */
cudaError_t cudaEventQuery(cudaEvent_t event) {
    for (int i = 0; i < 100 && !event->done && event->stream != nullptr && !event->stream->queue.empty(); i++) {
        work next = std::move(event->stream->queue.front());
        event->stream->queue.pop_front();
        next();
    }
    if (trouble() != cudaSuccess) {
        return note(trouble());
    }
    return event->stream == nullptr || event->done ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    the_machine().waits += event->stream != nullptr && !event->done && !event->stream->queue.empty();
    while (event->stream != nullptr && !event->done && !event->stream->queue.empty()) {
        work next = std::move(event->stream->queue.front());
        event->stream->queue.pop_front();
        next();
    }
    return note(trouble());
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}
