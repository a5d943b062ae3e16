//! Runs a grid: block by block, each CUDA thread on a stack of its own from its first barrier on.

use crate::fault::{Fault, report};
use crate::fiber::{Stacks, switch};
use crate::memory::{Memory, POISON, reserve};
use crate::module::{Callbacks, Kernel, Module, Variable};
use crate::settings::{Checks, Order, settings};
use crate::shadow::{Access, Conflict, Shadow};
use crate::status;
use crate::traffic::{Counter, Space};
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{addr_of_mut, null_mut};
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

/// CUDA's limit on the threads of a block.
pub(crate) const MAX_THREADS: usize = 1024;
const WARP: usize = 32;
/// Addresses for dynamic shared memory, more than any launch may have.
const DYNAMIC: usize = 1 << 20;

pub(crate) const CALLBACKS: Callbacks = Callbacks { access, barrier, collective, fail };

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    New,
    Ready,
    Barrier,
    Warp,
    Done,
}

#[derive(Clone, Copy)]
struct Thread {
    state: State,
    index: [u32; 3],
    stack: usize,
    pointer: *mut u8,
    /// Line of the barrier or collective at which it waits.
    line: i32,
    /// Operands and result of a warp collective.
    operation: u32,
    mask: u32,
    value: u64,
    source: u32,
    result: u64,
}

/// What a launch needs; the rest of `Launch` is made from it.
pub(crate) struct Grid<'a> {
    pub module: &'a Module,
    pub kernel: &'a Kernel,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic: usize,
    pub arguments: Vec<*const c_void>,
}

/// What outlives a launch.
pub(crate) struct Engine {
    stacks: Stacks,
    /// Dynamic shared memory: what a launch has, and beyond it what no launch has.
    dynamic: *mut u8,
    random: u64,
    shadow: Shadow,
    /// Counts what is done to memory, if that is wanted.
    counter: Option<Counter>,
}

struct Launch<'a> {
    grid: Grid<'a>,
    memory: &'a Memory,
    engine: &'a mut Engine,
    checks: Checks,
    order: Order,
    scheduler: *mut u8,
    threads: Vec<Thread>,
    /// Order of the threads, and how far this round has come.
    sequence: Vec<u32>,
    next: usize,
    current: usize,
    block: [u32; 3],
    live: usize,
    waiting: usize,
    sum: i32,
    barrier_sum: i32,
    /// Lanes of each warp that have not returned, and that wait in a collective.
    lanes: Vec<(u32, u32)>,
    shared: (usize, usize),
    /// The kernel's static shared variables: addresses and sizes.
    variables: Vec<(usize, usize)>,
    stack: (usize, usize),
    thread_index: *mut [u32; 3],
    fault: Option<Fault>,
}

static CURRENT: AtomicPtr<Launch<'static>> = AtomicPtr::new(null_mut());

/// The running launch. SAFETY: only called from kernels, which run under the device's lock and inside `Launch::run`.
unsafe fn current() -> &'static mut Launch<'static> {
    // SAFETY: see above.
    unsafe { &mut *CURRENT.load(Ordering::Relaxed) }
}

impl Engine {
    pub fn new() -> Option<Self> {
        let random = if let Order::Random(seed) = settings().order { seed } else { 0 };
        let dynamic = Some(reserve(DYNAMIC)).filter(|pointer| !pointer.is_null())?;
        let counter = settings().traffic.as_ref().map(|_| Counter::default());
        Some(Self { stacks: Stacks::new(MAX_THREADS)?, dynamic, random, shadow: Shadow::new()?, counter })
    }

    /// SplitMix64.
    fn draw(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * below as u128) >> 64) as usize
    }

    fn arrange(&mut self, order: Order, sequence: &mut [u32]) {
        if let Order::Random(_) = order {
            for i in (1..sequence.len()).rev() {
                sequence.swap(i, self.draw(i + 1));
            }
        }
    }

    /// Runs the grid to its end or to its first fault.
    pub fn run(&mut self, grid: Grid, memory: &Memory) -> Result<(), Fault> {
        let order = settings().order;
        let [bx, by, _] = grid.block;
        let count = grid.block.iter().product::<u32>();
        let thread = |i: u32| Thread {
            state: State::New,
            index: [i % bx, i / bx % by, i / bx / by],
            stack: usize::MAX,
            pointer: null_mut(),
            line: 0,
            operation: 0,
            mask: 0,
            value: 0,
            source: 0,
            result: 0,
        };
        let ascending = order != Order::Descending;
        let sequence = (0..count).map(|i| if ascending { i } else { count - 1 - i }).collect();
        let (shared, indices) = (grid.module.shared_range(), grid.module.indices());
        let blocks = grid.grid.iter().map(|n| u64::from(*n)).product::<u64>();
        let mut launch = Launch {
            memory,
            checks: settings().checks,
            order,
            scheduler: null_mut(),
            threads: (0..count).map(thread).collect(),
            sequence,
            next: 0,
            current: 0,
            block: [0; 3],
            live: 0,
            waiting: 0,
            sum: 0,
            barrier_sum: 0,
            lanes: vec![(0, 0); (count as usize).div_ceil(WARP)],
            shared,
            variables: grid.module.shared_of(grid.kernel).map(|v| (v.start, v.size)).collect(),
            stack: (0, 0),
            thread_index: indices.0,
            fault: None,
            grid,
            engine: self,
        };
        launch.engine.shadow.next_launch(shared.1 + launch.grid.dynamic);
        launch.grid.module.set_launch(launch.grid.grid, launch.grid.block, launch.engine.dynamic);
        CURRENT.store(addr_of_mut!(launch).cast(), Ordering::Relaxed);
        install_handlers();
        // Few grids are so large that their blocks can't be listed; those run in order.
        let mut list: Vec<u32> = if matches!(order, Order::Random(_)) { (0..blocks as u32).collect() } else { vec![] };
        launch.engine.arrange(order, &mut list);
        for i in 0..blocks {
            let i = list.get(i as usize).map_or(if ascending { i } else { blocks - 1 - i }, |i| u64::from(*i));
            let [gx, gy, _] = launch.grid.grid.map(u64::from);
            launch.block = [(i % gx) as u32, (i / gx % gy) as u32, (i / gx / gy) as u32];
            // SAFETY: the module's own variable.
            unsafe { *indices.1 = launch.block };
            launch.run_block();
            launch.engine.counter.iter_mut().for_each(Counter::end_block);
            if launch.fault.is_some() {
                break;
            }
        }
        let (fault, kernel) = (launch.fault.take(), launch.grid.kernel.name().to_owned());
        CURRENT.store(null_mut(), Ordering::Relaxed);
        if let Some(counter) = &mut launch.engine.counter {
            let text = counter.end_launch(&kernel, |callers| launch.grid.module.places(callers));
            append(&text)?;
        }
        match (fault, memory.broken_guard()) {
            (Some(fault), _) => Err(fault),
            (None, Some(what)) => Err(Fault(status::ILLEGAL_ADDRESS, format!("kernel `{kernel}`: {what}"))),
            (None, None) => Ok(()),
        }
    }
}

impl Launch<'_> {
    fn run_block(&mut self) {
        let count = self.threads.len();
        (self.live, self.waiting, self.sum) = (count, 0, 0);
        for thread in &mut self.threads {
            (thread.state, thread.stack) = (State::New, usize::MAX);
        }
        for (warp, lanes) in self.lanes.iter_mut().enumerate() {
            *lanes = (u32::MAX >> (WARP - (count - warp * WARP).min(WARP)), 0);
        }
        // SAFETY: shared memory of this block, which has not begun.
        unsafe {
            for (start, size) in &self.variables {
                std::ptr::write_bytes(*start as *mut u8, POISON, *size);
            }
            self.engine.dynamic.write_bytes(POISON, self.grid.dynamic);
        }
        self.engine.shadow.next_block(self.block);
        while self.live > 0 && self.fault.is_none() {
            let (order, mut sequence) = (self.order, std::mem::take(&mut self.sequence));
            self.engine.arrange(order, &mut sequence);
            self.sequence = sequence;
            self.next = 0;
            let mut progress = false;
            while let Some(pointer) = self.choose() {
                progress = true;
                // SAFETY: a stack pointer that `start` or an earlier switch made.
                unsafe { switch(&mut self.scheduler, pointer) };
                if self.threads[self.current].state == State::Done {
                    self.engine.stacks.free.push(self.threads[self.current].stack);
                }
            }
            if self.fault.is_some() || self.live == 0 {
                break;
            } else if self.waiting == self.live {
                self.release();
            } else if !progress {
                self.deadlock();
            }
        }
        // A faulty block leaves threads behind that never return: their stacks are free again.
        for thread in &self.threads {
            if thread.stack != usize::MAX && thread.state != State::Done {
                self.engine.stacks.free.push(thread.stack);
            }
        }
    }

    fn enter(&mut self, i: usize) {
        self.current = i;
        self.threads[i].state = State::Ready;
        // SAFETY: the module's own variable.
        unsafe { *self.thread_index = self.threads[i].index };
    }

    /// Makes the next thread of this round that can run the running one and returns its stack pointer.
    fn choose(&mut self) -> Option<*mut u8> {
        while self.next < self.sequence.len() && self.fault.is_none() {
            let i = self.sequence[self.next] as usize;
            self.next += 1;
            match self.threads[i].state {
                State::New => {
                    let stack = self.engine.stacks.free.pop().expect("one stack per thread");
                    self.threads[i].stack = stack;
                    self.threads[i].pointer = self.engine.stacks.start(stack, thread_main);
                }
                State::Ready => {}
                _ => continue,
            }
            self.enter(i);
            self.stack = self.engine.stacks.range(self.threads[i].stack);
            return Some(self.threads[i].pointer);
        }
        None
    }

    /// Leaves the running thread in `state` for the next one or the scheduler; returns when it is resumed.
    fn wait(&mut self, state: State) {
        let me = self.current;
        self.threads[me].state = state;
        // The stack of a thread that is done is free once nobody runs on it: the scheduler sees to that.
        let next = if state == State::Done { None } else { self.choose() };
        // SAFETY: stack pointers that `start` or earlier switches made; the scheduler waits in `run_block`.
        unsafe { switch(&mut self.threads[me].pointer, next.unwrap_or(self.scheduler)) };
    }

    /// Lets all threads go on from the barrier at which they wait; a divergent barrier is a fault.
    fn release(&mut self) {
        let first = self.threads.iter().position(|t| t.state == State::Barrier).expect("threads wait");
        let line = self.threads[first].line;
        let other = self.threads.iter().position(|t| t.state == State::Done || t.line != line);
        if let Some(other) = other {
            let [one, two] = [first, other].map(|i| self.threads[i].index);
            let what = match self.threads[other].state {
                State::Done => format!("thread {two:?} has returned"),
                _ => format!("thread {two:?} waits at that of line {}", self.threads[other].line),
            };
            let message = format!("divergent barrier: thread {one:?} waits at __syncthreads of line {line}, {what}");
            return self.fault = Some(self.describe(first, status::LAUNCH_FAILED, &message));
        }
        (self.barrier_sum, self.sum, self.waiting) = (self.sum, 0, 0);
        self.threads.iter_mut().for_each(|t| t.state = State::Ready);
        self.engine.shadow.next_interval();
    }

    fn deadlock(&mut self) {
        let in_warp = self.threads.iter().position(|t| t.state == State::Warp).expect("else all wait at a barrier");
        let Thread { line, mask, .. } = self.threads[in_warp];
        let (live, arrived) = self.lanes[in_warp / WARP];
        let message = format!(
            "deadlock: a warp collective of line {line} with mask {mask:#010x} waits for lanes {:#010x}; \
             {} threads of the block wait at __syncthreads, {} have returned",
            mask & live & !arrived,
            self.waiting,
            self.threads.len() - self.live
        );
        self.fault = Some(self.describe(in_warp, status::LAUNCH_FAILED, &message));
    }

    fn describe(&self, thread: usize, status: i32, message: &str) -> Fault {
        let (kernel, block, thread) = (self.grid.kernel.name(), self.block, self.threads[thread].index);
        Fault(status, format!("kernel `{kernel}`, block {block:?}, thread {thread:?}: {message}"))
    }

    /// Ends the launch; the running thread never goes on.
    fn raise(&mut self, status: i32, message: &str) {
        self.fault = Some(self.describe(self.current, status, message));
        self.wait(State::Barrier);
        unreachable!("a faulty thread is not resumed");
    }

    fn line(&self, caller: usize) -> String {
        self.grid.module.line(caller)
    }

    #[inline]
    fn access(&mut self, address: usize, size: usize, kind: Access, caller: usize) {
        let inside = |(start, length): (usize, usize)| {
            let offset = address.wrapping_sub(start);
            (offset < length).then_some(offset)
        };
        let (aligned, size) = (size < 256, size & 255);
        if aligned && address & (size - 1) != 0 {
            let verb = kind.verb();
            let message = format!("{}{verb} of {size} bytes at {address:#x}, not aligned", self.line(caller));
            self.raise(status::MISALIGNED_ADDRESS, &message);
        }
        if self.memory.contains(address) {
            if !self.memory.holds(address, size) {
                let place = self.memory.place(address);
                self.outside(size, kind, caller, &place);
            }
            self.count(Space::Global, address, size, kind, caller);
            if self.checks == Checks::Races {
                let place = (self.memory.offset(address), size);
                let who = (self.current, (caller - self.grid.module.base) as u32);
                if let Err(conflict) = self.engine.shadow.global(place, who, kind) {
                    let place = self.memory.place(address);
                    self.race(&place, kind, caller, conflict);
                }
            }
        } else if let Some(offset) = inside(self.shared) {
            let owner = self.grid.module.shared_owner[offset];
            if owner == 0 || self.grid.module.shared_owner.get(offset + size - 1) != Some(&owner) {
                let place = near(&self.grid.module.shared, address);
                self.outside(size, kind, caller, &place);
            }
            self.shared_access(offset, size, kind, caller);
        } else if let Some(offset) = inside((self.engine.dynamic as usize, DYNAMIC)) {
            if offset + size > self.grid.dynamic {
                let place = format!("byte {offset} of dynamic shared memory ({} bytes)", self.grid.dynamic);
                self.outside(size, kind, caller, &place);
            }
            self.shared_access(self.shared.1 + offset, size, kind, caller);
        } else if inside(self.stack).is_none() && !self.grid.module.holds(address, size) {
            let what = if address < 4096 { "null pointer" } else { "not device memory" };
            let place = format!("{address:#x}: {what}");
            self.outside(size, kind, caller, &place);
        }
    }

    #[cold]
    fn outside(&mut self, size: usize, kind: Access, caller: usize, place: &str) {
        let message = format!("{}{} of {size} bytes out of bounds: {place}", self.line(caller), kind.verb());
        self.raise(status::ILLEGAL_ADDRESS, &message);
    }

    #[inline]
    fn shared_access(&mut self, offset: usize, size: usize, kind: Access, caller: usize) {
        self.count(Space::Shared, offset, size, kind, caller);
        if self.checks == Checks::Races {
            let who = (self.current, (caller - self.grid.module.base) as u32);
            if let Err(conflict) = self.engine.shadow.shared((offset, size), who, kind) {
                let place = match offset.checked_sub(self.shared.1) {
                    Some(byte) => format!("byte {byte} of dynamic shared memory"),
                    None => near(&self.grid.module.shared, self.shared.0 + offset),
                };
                self.race(&place, kind, caller, conflict);
            }
        }
    }

    #[inline]
    fn count(&mut self, space: Space, place: usize, size: usize, kind: Access, caller: usize) {
        if let Some(counter) = &mut self.engine.counter {
            counter.note(space, place, size, (self.current, (caller - self.grid.module.base) as u32), kind);
        }
    }

    #[cold]
    fn race(&mut self, place: &str, kind: Access, caller: usize, Conflict { mark, kind: was, block }: Conflict) {
        let (verb, was, line) = (kind.verb(), was.verb(), self.line(caller));
        let other = self.line(mark.caller as usize + self.grid.module.base);
        let block = block.map_or("with no barrier between".into(), |block| format!("of block {block:?}"));
        let thread = self.threads[mark.thread()].index;
        let message = format!("race: {line}{verb} of {place}; {other}{was} by thread {thread:?} {block}");
        self.raise(status::LAUNCH_FAILED, &message);
    }

    fn finish_collective(&mut self, warp: usize, lanes: u32, operation: u32) {
        let threads = &mut self.threads[warp * WARP..];
        let set = |lane: usize| lanes >> lane & 1 == 1;
        let all = |test: &dyn Fn(usize) -> bool| (0..WARP).filter(|l| set(*l) && test(*l)).map(|l| 1 << l).sum::<u64>();
        for lane in (0..WARP).filter(|lane| set(*lane)) {
            threads[lane].result = match operation {
                1 => match threads[lane].source as usize & (WARP - 1) {
                    source if set(source) => threads[source].value,
                    _ => u64::MAX, // that lane takes no part: poison
                },
                2 => all(&|other| threads[other].value != 0),
                3 => all(&|other| threads[other].value == threads[lane].value),
                _ => 0,
            };
            if threads[lane].state == State::Warp {
                threads[lane].state = State::Ready;
            }
        }
        self.lanes[warp].1 &= !lanes;
        if operation == 0 {
            self.engine.shadow.next_step(warp);
        }
    }
}

/// Appends to the file for what is counted of memory.
fn append(text: &str) -> Result<(), Fault> {
    use std::io::Write;
    let Some(path) = &settings().traffic else { return Ok(()) };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Fault(status::LAUNCH_FAILED, format!("{}: {error}", path.display())))
}

/// `address` relative to the variable that lies before it.
fn near(variables: &[Variable], address: usize) -> String {
    match variables.iter().filter(|v| v.start <= address).max_by_key(|v| v.start) {
        Some(v) => format!("byte {} of shared `{}` ({} bytes)", address - v.start, v.name, v.size),
        None => "before the first variable of shared memory".into(),
    }
}

/// Runs the CUDA thread that `resume` chose, then those after it that are new: a kernel without barriers is a plain loop.
unsafe extern "C" fn thread_main() -> ! {
    loop {
        // SAFETY: called on a fiber of the running launch.
        let launch = unsafe { current() };
        // SAFETY: the arguments were checked against the kernel's parameters.
        unsafe { (launch.grid.kernel.run)(launch.grid.arguments.as_ptr()) };
        let me = launch.current;
        launch.live -= 1;
        launch.lanes[me / WARP].0 &= !(1 << (me % WARP));
        launch.threads[me].state = State::Done;
        if let Some(&next) = launch.sequence.get(launch.next)
            && launch.threads[next as usize].state == State::New
        {
            launch.next += 1;
            launch.threads[next as usize].stack = launch.threads[me].stack;
            launch.enter(next as usize);
            continue;
        }
        launch.wait(State::Done);
    }
}

unsafe extern "C" fn access(address: usize, size: usize, kind: u32, caller: usize) {
    // SAFETY: called by a kernel.
    unsafe { current() }.access(address, size, Access::from(kind), caller);
}

unsafe extern "C" fn barrier(predicate: i32, line: i32, _reduction: i32) -> i32 {
    // SAFETY: called by a kernel.
    let launch = unsafe { current() };
    launch.waiting += 1;
    launch.sum += i32::from(predicate != 0);
    launch.threads[launch.current].line = line;
    launch.wait(State::Barrier);
    launch.barrier_sum
}

unsafe extern "C" fn collective(operation: u32, mask: u32, value: u64, source: u32, line: i32) -> u64 {
    // SAFETY: called by a kernel.
    let launch = unsafe { current() };
    let me = launch.current;
    let (warp, lane) = (me / WARP, me % WARP);
    if mask >> lane & 1 == 0 {
        let message = format!("line {line}: the mask {mask:#010x} of a warp collective lacks the calling lane {lane}");
        launch.raise(status::LAUNCH_FAILED, &message);
    }
    let thread = &mut launch.threads[me];
    (thread.operation, thread.mask, thread.value) = (operation, mask, value);
    (thread.source, thread.line) = (source, line);
    let lanes = &mut launch.lanes[warp];
    lanes.1 |= 1 << lane;
    let wanted = mask & lanes.0;
    if lanes.1 & wanted == wanted {
        let all = &launch.threads[warp * WARP..];
        let same = |l: &usize| wanted >> l & 1 == 0 || (all[*l].operation, all[*l].mask) == (operation, mask);
        if let Some(other) = (0..WARP.min(all.len())).find(|l| !same(l)) {
            let (line_2, mask_2) = (all[other].line, all[other].mask);
            let message = format!(
                "line {line}: warp collective with mask {mask:#010x}, but lane {other} is in another one, \
                 line {line_2}, mask {mask_2:#010x}"
            );
            launch.raise(status::LAUNCH_FAILED, &message);
        }
        launch.finish_collective(warp, wanted, operation);
    } else {
        launch.wait(State::Warp);
    }
    launch.threads[me].result
}

/// What the kernel or the compiler's own checks found; `soft::Failure` of device.h.
unsafe extern "C" fn fail(failure: u32, line: i32, detail: *const c_char, value: i64) {
    // SAFETY: called by a kernel with literals.
    let (launch, detail) = unsafe { (current(), CStr::from_ptr(detail).to_string_lossy()) };
    let (status, what) = match failure {
        0 => (status::ASSERT, format!("assertion failed: {detail}")),
        1 => (status::LAUNCH_FAILED, "__trap()".into()),
        2 => (status::ILLEGAL_ADDRESS, format!("index {value} out of bounds of {detail}")),
        3 => (status::MISALIGNED_ADDRESS, format!("address {value:#x} is not aligned for {detail}")),
        4 => (status::LAUNCH_FAILED, format!("division of {detail} by zero, or its quotient overflows")),
        _ => (status::LAUNCH_FAILED, format!("shift of {detail} by {value} bits")),
    };
    launch.raise(status, &format!("line {line}: {what}"));
}

/// Says where a kernel was when the process dies of it: an access that was not checked, or a stack that overflowed.
fn install_handlers() {
    extern "C" fn handler(signal: i32) {
        // SAFETY: the process dies; if there is a launch, its kernel is what runs.
        unsafe {
            if let Some(launch) = CURRENT.load(Ordering::Relaxed).as_ref() {
                let what = "the kernel died of a bad address, or its stack of 128 KiB overflowed";
                let Fault(_, message) = launch.describe(launch.current, status::ILLEGAL_ADDRESS, what);
                report(Fault(status::ILLEGAL_ADDRESS, message));
            }
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
    static ONCE: Once = Once::new();
    // SAFETY: the handler runs on the alternate stack that Rust gives each thread.
    ONCE.call_once(|| unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_ONSTACK | libc::SA_NODEFER;
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE] {
            libc::sigaction(signal, &action, null_mut());
        }
    });
}
