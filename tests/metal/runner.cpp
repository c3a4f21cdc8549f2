// Runs a kernel that was compiled with metal_stdlib over a grid: group after group, the threads of
// a group on stacks of their own, each up to its next barrier before the next thread runs.
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <sys/mman.h>
#include <ucontext.h>
#include <utility>
#include <vector>

namespace {

using Kernel = void (*)(const void* arguments, unsigned char* shared, unsigned thread,
                        unsigned group, unsigned threads, unsigned groups, unsigned lane,
                        unsigned simdgroup);

constexpr unsigned WIDTH = 32;  // threads of a simdgroup
constexpr size_t STACK = 256 << 10;
constexpr size_t GUARD = 16 << 10;  // pages below a stack that nothing can write
constexpr size_t LANE_BYTES = 16;
constexpr unsigned char POISON = 0xff;  // NaN in every float type, odd in every integer
constexpr size_t CANARY = 64;

enum class State { running, group_barrier, simdgroup_meeting, returned };

struct Fiber {
  jmp_buf context;
  ucontext_t start;
  bool started = false;
};

struct Thread {
  State state;
  Fiber* fiber;
  const char* name;  // of the function it waits in
  int line;
  bool parity;  // of its meetings: a thread may be one ahead of another
};

struct Launch {
  Kernel kernel;
  const void* arguments;
  unsigned char* shared;
  unsigned group, threads, groups;
};

Launch launch;
std::vector<Thread> all;
std::vector<unsigned> order;  // in which threads run until the next barrier
size_t next_new;              // position in `order` of the next thread to begin
unsigned current;
std::vector<Fiber*> idle, made;
Fiber* active;
jmp_buf scheduler;
sigjmp_buf failure;
std::string problem;
std::vector<unsigned char> lanes;  // two sets of values for each simdgroup
uint64_t seed;                     // 0 for ascending order

uint64_t random_number() {  // xorshift64, https://doi.org/10.18637/jss.v008.i14
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

[[noreturn]] void fail(const char* format, ...) {
  char text[512];
  va_list values;
  va_start(values, format);
  vsnprintf(text, sizeof text, format, values);
  va_end(values);
  problem = text;
  siglongjmp(failure, 1);
}

// Puts the numbers [first, last) into that part of `order`.
void make_order(unsigned first, unsigned last) {
  for (unsigned i = first; i < last; i++) order[i] = i;
  if (seed)
    for (unsigned i = last; i > first + 1; i--)
      std::swap(order[i - 1], order[first + random_number() % (i - first)]);
}

// A fiber begins threads until one of them waits; then it belongs to that thread until it returns.
void fiber_body() {
  for (;;) {
    while (next_new < order.size()) {
      current = order[next_new++];
      Thread& thread = all[current];
      thread.fiber = active;
      launch.kernel(launch.arguments, launch.shared, current, launch.group, launch.threads,
                    launch.groups, current % WIDTH, current / WIDTH);
      all[current].state = State::returned;
    }
    idle.push_back(active);
    if (_setjmp(active->context) == 0) _longjmp(scheduler, 1);
  }
}

Fiber* new_fiber() {
  Fiber* fiber = new Fiber;
  void* memory = mmap(nullptr, STACK, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) fail("there is no memory for the stacks of %u threads", launch.threads);
  mprotect(memory, GUARD, PROT_NONE);
  getcontext(&fiber->start);
  fiber->start.uc_stack.ss_sp = memory;
  fiber->start.uc_stack.ss_size = STACK - made.size() % 61 * 192;  // apart in the cache, too
  fiber->start.uc_link = nullptr;
  made.push_back(fiber);
  return fiber;
}

void resume(Fiber* fiber) {
  active = fiber;
  if (_setjmp(scheduler) == 0) {
    if (fiber->started) _longjmp(fiber->context, 1);
    fiber->started = true;
    makecontext(&fiber->start, fiber_body, 0);
    setcontext(&fiber->start);
  }
}

void suspend(State state, const char* name, int line) {
  Thread& thread = all[current];
  thread.state = state;
  thread.name = name;
  thread.line = line;
  if (_setjmp(thread.fiber->context) == 0) _longjmp(scheduler, 1);
}

std::string describe(unsigned index) {
  const Thread& thread = all[index];
  std::string text = "thread " + std::to_string(index);
  if (thread.state == State::returned) return text + " has returned";
  return text + " waits at " + thread.name + " in line " + std::to_string(thread.line);
}

bool same_place(const Thread& a, const Thread& b) {
  return a.state == b.state && a.line == b.line && !strcmp(a.name, b.name);
}

// Whether the threads [first, last) all wait in `state`; at different places is an error.
bool have_met(State state, unsigned first, unsigned last) {
  for (unsigned i = first; i < last; i++)
    if (all[i].state != state) return false;
  for (unsigned i = first; i < last; i++)
    if (!same_place(all[first], all[i]))
      fail("group %u: %s, but %s", launch.group, describe(first).c_str(), describe(i).c_str());
  return true;
}

void release(unsigned first, unsigned last) {
  make_order(first, last);
  for (unsigned i = first; i < last; i++) all[i].state = State::running;
  for (unsigned i = first; i < last; i++) {
    current = order[i];
    resume(all[current].fiber);
  }
}

// Lets those run who have met; false where nobody can.
bool release_met() {
  if (have_met(State::group_barrier, 0, launch.threads)) {
    release(0, launch.threads);
    return true;
  }
  bool any = false;
  for (unsigned first = 0; first < launch.threads; first += WIDTH) {
    unsigned last = first + WIDTH < launch.threads ? first + WIDTH : launch.threads;
    if (have_met(State::simdgroup_meeting, first, last)) {
      release(first, last);
      any = true;
    }
  }
  return any;
}

void run_group(size_t shared_bytes) {
  memset(launch.shared, POISON, shared_bytes);
  make_order(0, launch.threads);
  for (Thread& thread : all) thread = Thread{State::running, nullptr, "", 0, false};
  next_new = 0;
  while (next_new < order.size()) {
    if (idle.empty()) idle.push_back(new_fiber());
    Fiber* fiber = idle.back();
    idle.pop_back();
    resume(fiber);
  }
  for (;;) {
    unsigned waiting = launch.threads;
    for (unsigned i = 0; i < launch.threads; i++)
      if (all[i].state != State::returned) waiting = i;
    if (waiting == launch.threads) break;
    if (release_met()) continue;
    unsigned other = 0;
    while (other < waiting && same_place(all[other], all[waiting])) other++;
    if (other == waiting) fail("group %u: %s for threads that the group does not have",
                               launch.group, describe(waiting).c_str());
    fail("group %u: %s, but %s", launch.group, describe(waiting).c_str(), describe(other).c_str());
  }
  for (size_t i = 0; i < CANARY; i++)
    if (launch.shared[shared_bytes + i] != POISON)
      fail("group %u: wrote byte %zu of %zu bytes of threadgroup memory", launch.group,
           shared_bytes + i, shared_bytes);
}

unsigned gcd(unsigned a, unsigned b) { return b ? gcd(b, a % b) : a; }

void run_groups(size_t shared_bytes) {
  unsigned step = 1, start = 0;
  if (seed && launch.groups > 1) {
    start = unsigned(random_number() % launch.groups);
    do step = unsigned(random_number() % launch.groups);
    while (gcd(step, launch.groups) != 1);
  }
  for (unsigned i = 0; i < launch.groups; i++) {
    launch.group = unsigned((start + uint64_t(step) * i) % launch.groups);
    run_group(shared_bytes);
  }
}

void on_signal(int number, siginfo_t* info, void*) {
  if (number == SIGFPE)
    fail("group %u: thread %u divides an integer by zero", launch.group, current);
  fail("group %u: thread %u follows the address %p, where no memory is", launch.group, current,
       info->si_addr);
}

// While a kernel runs, its crashes are errors of the launch.
struct Signals {
  static constexpr int numbers[] = {SIGSEGV, SIGBUS, SIGFPE};
  struct sigaction before[3];
  stack_t stack_before;
  std::vector<char> stack = std::vector<char>(64 << 10);
  Signals() {
    stack_t own{};
    own.ss_sp = stack.data();
    own.ss_size = stack.size();
    sigaltstack(&own, &stack_before);
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int i = 0; i < 3; i++) sigaction(numbers[i], &action, &before[i]);
  }
  ~Signals() {
    for (int i = 0; i < 3; i++) sigaction(numbers[i], &before[i], nullptr);
    sigaltstack(&stack_before, nullptr);
  }
};

}  // namespace

extern "C" {

void metal_barrier(const char* name, int line) { suspend(State::group_barrier, name, line); }

const void* metal_meet(const void* value, unsigned size, const char* name, int line,
                       unsigned* lane, unsigned* count) {
  Thread& thread = all[current];
  unsigned simdgroup = current / WIDTH, first = simdgroup * WIDTH;
  unsigned char* values = &lanes[(simdgroup * 2 + thread.parity) * WIDTH * LANE_BYTES];
  thread.parity = !thread.parity;
  *lane = current % WIDTH;
  *count = launch.threads - first < WIDTH ? launch.threads - first : WIDTH;
  memcpy(values + *lane * size, value, size);
  suspend(State::simdgroup_meeting, name, line);
  return values;
}

[[noreturn]] void metal_fail(const char* name, const char* what, int line) {
  fail("group %u: thread %u: %s %s in line %d", launch.group, current, name, what, line);
}

// What g++ calls where -fsanitize finds that C++ and Metal leave undefined what a kernel does. All
// are given a description that begins with the place.
struct Place {
  const char* file;
  unsigned line, column;
};

#define UNDEFINED(NAME, WHAT)                                                              \
  [[noreturn]] void __ubsan_handle_##NAME(const Place* place) {                            \
    fail("group %u: thread %u %s in line %u", launch.group, current, WHAT, place->line);   \
  }
UNDEFINED(add_overflow, "adds integers whose sum overflows")
UNDEFINED(sub_overflow, "subtracts integers whose difference overflows")
UNDEFINED(mul_overflow, "multiplies integers whose product overflows")
UNDEFINED(negate_overflow, "negates an integer without a negative")
UNDEFINED(divrem_overflow, "divides an integer by zero, or the quotient overflows,")
UNDEFINED(shift_out_of_bounds, "shifts by too many bits, or bits out of a signed integer,")
UNDEFINED(float_cast_overflow, "converts a float to an integer type that it is out of range of")
UNDEFINED(out_of_bounds, "indexes beyond an array")
UNDEFINED(type_mismatch_v1, "follows an address that is null or not aligned for its type")

// Runs one launch. Returns null, or what went wrong: valid until the next call. Not reentrant.
const char* metal_run(Kernel kernel, const void* arguments, uint64_t shared_bytes, unsigned groups,
                      unsigned threads, uint64_t order_seed) {
  static std::vector<unsigned char> memory;
  memory.assign(shared_bytes + CANARY + 256, POISON);
  unsigned char* shared = memory.data() + (256 - uintptr_t(memory.data()) % 256);
  launch = Launch{kernel, arguments, shared, 0, threads, groups};
  seed = order_seed * 0x9e3779b97f4a7c15;  // spread, for xorshift takes its time with small ones
  all.resize(threads);
  order.resize(threads);
  lanes.resize((threads + WIDTH - 1) / WIDTH * 2 * WIDTH * LANE_BYTES);
  idle = made;
  problem.clear();
  Signals signals;
  if (sigsetjmp(failure, 1) == 0) {
    run_groups(shared_bytes);
    return nullptr;
  }
  for (Fiber* fiber : made) fiber->started = false;
  return problem.c_str();
}

}  // extern "C"
