#pragma once
#include <cstddef>

namespace ingot::runtime::gpu::emulator {

/// A function with a stack of its own that can stop in the middle and go on later, on the same processor
/// thread. Not movable: its stack knows where it is.
class Fibre {
  public:
    static constexpr size_t kStackBytes = 256 << 10;

    Fibre() = default;
    ~Fibre();
    Fibre(const Fibre&) = delete;
    Fibre& operator=(const Fibre&) = delete;

    /// Gets ready to call entry(argument), which must not throw; a call that has not returned is forgotten.
    void start(void (*entry)(void*), void* argument);
    /// Runs until the function stops or returns. Not from within a fibre.
    void resume();
    /// Inside of the function: stops it, resume() returns.
    void stop();

  private:
    struct Machine;  // what the processor needs
    static void run(void* fibre);

    void (*entry_)(void*) = nullptr;
    void* argument_ = nullptr;
    Machine* machine_ = nullptr;
    bool has_returned_ = false;  // from the last call: nobody else has left marks on its stack
};

}  // namespace ingot::runtime::gpu::emulator
