// Switching stacks: eight instructions on x86-64, the C library's contexts elsewhere (they call the kernel of
// the operating system at every switch, which is slower and does the same).
#include "runtime/gpu/emulator/fibre.h"

#include <atomic>
#include <cstdint>
#include <new>

#include <sys/mman.h>
#include <unistd.h>

#include "format/error.h"

#if defined(__x86_64__) && !defined(INGOT_PORTABLE_FIBRES)
#define INGOT_OWN_SWITCH 1
#else
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifdef INGOT_OWN_SWITCH
// void ingot_switch_stack(void** save, void* load): the registers that a call must preserve go to the old
// stack and come from the new one.
asm(R"(
.text
.p2align 4
.type ingot_switch_stack, @function
ingot_switch_stack:
    .cfi_startproc
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .cfi_endproc
.size ingot_switch_stack, .-ingot_switch_stack
.type ingot_first_switch, @function
ingot_first_switch:
    .cfi_startproc
    .cfi_undefined %rip
    movq %r12, %rdi
    callq *%r13
    ud2
    .cfi_endproc
.size ingot_first_switch, .-ingot_first_switch
)");
extern "C" void ingot_switch_stack(void** save, void* load);
extern "C" void ingot_first_switch();
#endif

namespace ingot::runtime::gpu::emulator {

struct Fibre::Machine {
    void* stack = nullptr;  // begins with a page that nobody may touch
    size_t size = 0;        // bytes in use
#ifdef INGOT_OWN_SWITCH
    void* inside = nullptr;  // stack pointers
    void* outside = nullptr;
#else
    ucontext_t inside, outside;
#endif
    // AddressSanitizer wants to know which stack is in use.
    void* fake_inside = nullptr;
    void* fake_outside = nullptr;
    const void* outside_stack = nullptr;
    size_t outside_bytes = 0;
};

namespace {

[[maybe_unused]] void begin_switch([[maybe_unused]] void** fake, [[maybe_unused]] const void* stack,
                                   [[maybe_unused]] size_t size_bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(fake, stack, size_bytes);
#endif
}
[[maybe_unused]] void end_switch([[maybe_unused]] void* fake, [[maybe_unused]] const void** stack,
                                 [[maybe_unused]] size_t* size_bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, stack, size_bytes);
#endif
}

// A call that is forgotten leaves marks between its variables.
[[maybe_unused]] void forget_marks([[maybe_unused]] const void* stack, [[maybe_unused]] size_t size_bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stack, size_bytes);
#endif
}

}  // namespace

Fibre::~Fibre() {
    if (machine_ == nullptr) return;
    munmap(machine_->stack, kStackBytes);
    delete machine_;
}

void Fibre::run(void* self) {
    Fibre& fibre = *static_cast<Fibre*>(self);
    end_switch(nullptr, &fibre.machine_->outside_stack, &fibre.machine_->outside_bytes);
    fibre.entry_(fibre.argument_);
    fibre.has_returned_ = true;
    for (;;) fibre.stop();
}

void Fibre::start(void (*entry)(void*), void* argument) {
    entry_ = entry;
    argument_ = argument;
    if (machine_ == nullptr) {
        void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stack == MAP_FAILED) fail("out of memory: a stack of {} bytes could not be had", kStackBytes);
        mprotect(stack, size_t(sysconf(_SC_PAGESIZE)), PROT_NONE);
        machine_ = new Machine;
        machine_->stack = stack;
        // Stacks end at different distances from their pages' ends: else all would share a few lines of the
        // caches.
        static std::atomic<size_t> n_stacks{0};
        machine_->size = kStackBytes - n_stacks++ % 64 * 448;
    }
    if (!has_returned_) forget_marks(machine_->stack, machine_->size);
    has_returned_ = false;
#ifdef INGOT_OWN_SWITCH
    // As ingot_switch_stack would have left it: r15, r14, r13, r12, rbx, rbp, the return address.
    // The first instruction finds rsp at a multiple of 16.
    auto* top = reinterpret_cast<uint64_t*>(static_cast<char*>(machine_->stack) + machine_->size - 72);
    top[0] = top[1] = 0;
    top[2] = reinterpret_cast<uint64_t>(&Fibre::run);
    top[3] = reinterpret_cast<uint64_t>(this);
    top[4] = top[5] = 0;
    top[6] = reinterpret_cast<uint64_t>(&ingot_first_switch);
    machine_->inside = top;
#else
    getcontext(&machine_->inside);
    machine_->inside.uc_stack.ss_sp = machine_->stack;
    machine_->inside.uc_stack.ss_size = machine_->size;
    const auto bits = reinterpret_cast<uintptr_t>(this);  // makecontext() passes ints
    const auto begin = +[](unsigned high, unsigned low) {
        Fibre::run(reinterpret_cast<void*>(uintptr_t(uint64_t(high) << 32 | low)));
    };
    makecontext(&machine_->inside, reinterpret_cast<void (*)()>(begin), 2, unsigned(uint64_t(bits) >> 32),
                unsigned(bits & 0xffffffffu));
#endif
}

void Fibre::resume() {
    begin_switch(&machine_->fake_outside, machine_->stack, machine_->size);
#ifdef INGOT_OWN_SWITCH
    ingot_switch_stack(&machine_->outside, machine_->inside);
#else
    swapcontext(&machine_->outside, &machine_->inside);
#endif
    end_switch(machine_->fake_outside, nullptr, nullptr);
}

void Fibre::stop() {
    begin_switch(&machine_->fake_inside, machine_->outside_stack, machine_->outside_bytes);
#ifdef INGOT_OWN_SWITCH
    ingot_switch_stack(&machine_->inside, machine_->outside);
#else
    swapcontext(&machine_->inside, &machine_->outside);
#endif
    end_switch(machine_->fake_inside, &machine_->outside_stack, &machine_->outside_bytes);
}

}  // namespace ingot::runtime::gpu::emulator
