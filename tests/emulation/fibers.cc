/*
 * fibers.cc - a block's threads on one thread of the CPU.
 *
 * A fiber runs threads one after the other. Where a thread waits at a barrier its fiber sleeps with it, and another fiber goes
 * on with the next thread: a kernel without barriers runs as a plain loop. Blocks take their threads forwards and backwards in
 * turn, so that a barrier that is missing shows in one of two blocks. All of a warp's live threads meet at a warp's barrier, all
 * of a block's at the block's; whoever has ended is not waited for.
 */
#include <stdio.h>
#include <stdlib.h>

#include <vector>

#include "cuda_runtime.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

__thread uint3 threadIdx, blockIdx, blockDim, gridDim;
__thread void *emulation_warp_values;
__thread unsigned emulation_lane;

/* Saves what a callee must keep and this stack's end at *from; goes on at `to`. */
extern "C" void emulation_switch(void **from, void *to);
#if defined(__x86_64__)
asm(".text\n.globl emulation_switch\n.type emulation_switch,@function\nemulation_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n"
    ".size emulation_switch,.-emulation_switch\n");
enum { SAVED_WORDS = 6 };
#elif defined(__aarch64__)
asm(".text\n.globl emulation_switch\n.type emulation_switch,%function\nemulation_switch:\n"
    "sub sp,sp,#160\nstp x19,x20,[sp]\nstp x21,x22,[sp,#16]\nstp x23,x24,[sp,#32]\nstp x25,x26,[sp,#48]\n"
    "stp x27,x28,[sp,#64]\nstp x29,x30,[sp,#80]\nstp d8,d9,[sp,#96]\nstp d10,d11,[sp,#112]\nstp d12,d13,[sp,#128]\n"
    "stp d14,d15,[sp,#144]\nmov x9,sp\nstr x9,[x0]\nmov sp,x1\n"
    "ldp x19,x20,[sp]\nldp x21,x22,[sp,#16]\nldp x23,x24,[sp,#32]\nldp x25,x26,[sp,#48]\nldp x27,x28,[sp,#64]\n"
    "ldp x29,x30,[sp,#80]\nldp d8,d9,[sp,#96]\nldp d10,d11,[sp,#112]\nldp d12,d13,[sp,#128]\nldp d14,d15,[sp,#144]\n"
    "add sp,sp,#160\nret\n.size emulation_switch,.-emulation_switch\n");
#else
#error "the emulation of CUDA knows x86-64 and aarch64"
#endif

namespace {

enum { STACK = 256 << 10, WARP_SIZE = 32 };
enum state { NEW, RUNS, AT_WARP, AT_BLOCK, ENDED };

struct fiber {
    char *stack;
    void *place;  /* where it sleeps */
    unsigned thread;
    void *fake;   /* the address sanitizer's */
};

struct block {
    const std::function<void()> *body;
    unsigned threads, begun, ended;
    bool backwards;
    std::vector<state> states;
    std::vector<fiber *> sleepers; /* by thread */
    std::vector<uint64_t> warp_values;
    std::vector<fiber *> idle;
    std::vector<fiber *> all;
    fiber *runs;
    void *scheduler; /* where it sleeps */
    void *scheduler_fake;
    const void *scheduler_stack;
    size_t scheduler_size;

    ~block() {
        for (fiber *each : all) {
            free(each->stack);
            delete each;
        }
    }
};

thread_local block *now;

void switch_to_fiber(fiber *to) {
    now->runs = to;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&now->scheduler_fake, to->stack, STACK);
#endif
    emulation_switch(&now->scheduler, to->place);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(now->scheduler_fake, nullptr, nullptr);
#endif
}

void switch_to_scheduler(fiber *from) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&from->fake, now->scheduler_stack, now->scheduler_size);
#endif
    emulation_switch(&from->place, now->scheduler);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(from->fake, &now->scheduler_stack, &now->scheduler_size);
#endif
}

void enter(unsigned thread) {
    threadIdx = uint3{ thread, 0, 0 };
    emulation_lane = thread % WARP_SIZE;
    emulation_warp_values = &now->warp_values[thread / WARP_SIZE * WARP_SIZE];
}

unsigned next_thread(void) {
    unsigned thread = now->backwards ? now->threads - 1 - now->begun : now->begun;
    now->begun++;
    return thread;
}

[[noreturn]] void fiber_main(void) {
    fiber *self = now->runs;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &now->scheduler_stack, &now->scheduler_size);
#endif
    for (;;) {
        enter(self->thread);
        now->states[self->thread] = RUNS;
        (*now->body)();
        now->states[self->thread] = ENDED;
        now->ended++;
        if (now->begun < now->threads) {
            self->thread = next_thread();
            continue;
        }
        now->idle.push_back(self);
        switch_to_scheduler(self);
    }
}

extern "C" void emulation_fiber_entry(void) {
    fiber_main();
}

fiber *make_fiber(void) {
    fiber *made = new fiber();
    made->stack = (char *)malloc(STACK);
    char *top = made->stack + STACK - 64;
    top -= (uintptr_t)top % 16;
    void **words = (void **)top;
#if defined(__x86_64__)
    words[-1] = nullptr; /* as a call would leave the stack: return address above an aligned end */
    words[-2] = (void *)emulation_fiber_entry;
    memset(&words[-2 - SAVED_WORDS], 0, SAVED_WORDS * sizeof *words);
    made->place = &words[-2 - SAVED_WORDS];
#else
    memset(&words[-20], 0, 20 * sizeof *words);
    words[-20 + 11] = (void *)emulation_fiber_entry; /* x30 */
    made->place = &words[-20];
#endif
    now->all.push_back(made);
    return made;
}

void wait_as(state waits) {
    fiber *self = now->runs;
    now->states[self->thread] = waits;
    now->sleepers[self->thread] = self;
    switch_to_scheduler(self);
    enter(self->thread);
}

/* All live threads of first..first+count wait as `waits`: let them go. */
bool release(unsigned first, unsigned count, state waits) {
    bool some = false;
    unsigned end = first + count < now->threads ? first + count : now->threads;
    for (unsigned i = first; i < end; i++) {
        if (now->states[i] != waits && now->states[i] != ENDED) {
            return false;
        }
        some = some || now->states[i] == waits;
    }
    for (unsigned i = first; i < end; i++) {
        now->states[i] = now->states[i] == waits ? RUNS : now->states[i];
    }
    return some;
}

bool release_any(void) {
    bool some = false;
    for (unsigned first = 0; first < now->threads; first += WARP_SIZE) {
        some = release(first, WARP_SIZE, AT_WARP) || some;
    }
    return some || release(0, now->threads, AT_BLOCK);
}

void resume_released(void) {
    for (unsigned i = 0; i < now->threads; i++) {
        unsigned thread = now->backwards ? now->threads - 1 - i : i;
        fiber *sleeper = now->sleepers[thread];
        if (now->states[thread] == RUNS && sleeper != nullptr) {
            now->sleepers[thread] = nullptr;
            switch_to_fiber(sleeper);
        }
    }
}

void run_block(block *self) {
    self->begun = self->ended = 0;
    self->states.assign(self->threads, NEW);
    self->sleepers.assign(self->threads, nullptr);
    while (self->ended < self->threads) {
        if (self->begun < self->threads) {
            fiber *free_one = self->idle.empty() ? make_fiber() : self->idle.back();
            if (!self->idle.empty()) {
                self->idle.pop_back();
            }
            free_one->thread = next_thread();
            switch_to_fiber(free_one);
        } else if (release_any()) {
            resume_released();
        } else if (self->ended < self->threads) {
            fprintf(stderr, "emulated CUDA: threads of a block wait at barriers that others never reach\n");
            abort();
        }
    }
}

} // namespace

void emulation_block_barrier(void) {
    wait_as(AT_BLOCK);
}

void emulation_warp_barrier(void) {
    wait_as(AT_WARP);
}

void emulation_run_grid(dim3 grid, unsigned threads, const std::function<void()> &thread) {
    static thread_local block self; /* fibers are kept */
    if (threads == 0 || threads > 1024 || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535) {
        fprintf(stderr, "emulated CUDA: no card takes %ux%ux%u blocks of %u\n", grid.x, grid.y, grid.z, threads);
        abort();
    }
    self.body = &thread;
    self.threads = threads;
    self.warp_values.assign((threads + WARP_SIZE - 1) / WARP_SIZE * WARP_SIZE, 0);
    now = &self;
    gridDim = uint3{ grid.x, grid.y, grid.z };
    blockDim = uint3{ threads, 1, 1 };
    for (unsigned z = 0; z < grid.z; z++) {
        for (unsigned y = 0; y < grid.y; y++) {
            for (unsigned x = 0; x < grid.x; x++) {
                blockIdx = uint3{ x, y, z };
                run_block(&self);
                self.backwards = !self.backwards;
            }
        }
    }
}
