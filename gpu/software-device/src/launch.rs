//! Runs a grid: block by block, each CUDA thread on a stack of its own from its first barrier on.
//!
//! Several threads of the host take blocks in turn, if [`Settings::threads`](crate::settings::Settings) says so and the blocks allow it: if none
//! of them can see what another one does. Each thread has stacks, shared memory and a copy of the module of its own.

use crate::fault::{Fault, report};
use crate::fiber::{Stacks, switch};
use crate::memory::{Memory, POISON, reserve};
use crate::module::{Callbacks, Kernel, Module, Variable};
use crate::settings::{Checks, Order, settings};
use crate::shadow::{Access, Conflict, Shadow};
use crate::status;
use crate::traffic::{Counter, Space};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{addr_of_mut, null_mut};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

/// CUDA's limit on the threads of a block.
pub(crate) const MAX_THREADS: usize = 1024;
const WARP: usize = 32;
/// Addresses for dynamic shared memory, more than any launch may have.
const DYNAMIC: usize = 1 << 20;

pub(crate) const CALLBACKS: Callbacks = Callbacks { access, barrier, collective, fail, launch: null_mut() };

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
#[derive(Clone, Copy)]
pub(crate) struct Grid<'a> {
    pub module: &'a Module,
    /// The kernel's name.
    pub kernel: &'a str,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic: usize,
    /// The bytes of each argument.
    pub arguments: &'a [Vec<u8>],
}

/// What outlives a launch.
pub(crate) struct Engine {
    /// One for each thread of the host that runs blocks; the first is the thread that launches.
    workers: Vec<Worker>,
    random: Random,
}

/// What a thread of the host needs to run blocks.
struct Worker {
    stacks: Stacks,
    /// Dynamic shared memory: what a launch has, and beyond it what no launch has.
    dynamic: *mut u8,
    shadow: Shadow,
    /// Counts what is done to memory, if that is wanted.
    counter: Option<Counter>,
}

/// SAFETY: mappings and tables, none of them tied to a thread; one thread at a time has them.
unsafe impl Send for Worker {}

/// SplitMix64.
#[derive(Clone, Copy)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of its own for the `number`-th block: the order of its threads depends on no other block.
    fn of_block(self, number: u64) -> Self {
        Self(Self(self.0.wrapping_add(number)).next())
    }

    fn draw(&mut self, below: usize) -> usize {
        ((u128::from(self.next()) * below as u128) >> 64) as usize
    }

    fn shuffle(&mut self, sequence: &mut [u32]) {
        for i in (1..sequence.len()).rev() {
            sequence.swap(i, self.draw(i + 1));
        }
    }
}

/// The blocks of a grid, as they are handed out.
struct Blocks {
    order: Order,
    count: u64,
    /// Their order, if it is random.
    list: Vec<u32>,
    /// How many have been handed out.
    taken: AtomicU64,
    /// The first, in their order, that has a fault; those after it need not run.
    faulty: AtomicU64,
    /// What the order of the blocks' threads is drawn from.
    random: Random,
}

impl Blocks {
    fn new(count: u64, order: Order, random: &mut Random) -> Self {
        // Few grids are so large that their blocks can't be listed; those run in order.
        let mut list: Vec<u32> = Vec::new();
        if let Order::Random(_) = order {
            list.extend(0..count as u32);
            random.shuffle(&mut list);
        }
        let random = Random(random.next());
        Self { order, count, list, taken: AtomicU64::new(0), faulty: AtomicU64::new(u64::MAX), random }
    }

    /// The next block: its place in their order, and its number.
    fn take(&self) -> Option<(u64, u64)> {
        let place = self.taken.fetch_add(1, Ordering::Relaxed);
        if place >= self.count || place > self.faulty.load(Ordering::Relaxed) {
            return None;
        }
        let number = match self.order {
            Order::Ascending => place,
            Order::Descending => self.count - 1 - place,
            Order::Random(_) => u64::from(self.list[place as usize]),
        };
        Some((place, number))
    }
}

/// The blocks that a thread of the host runs.
pub(crate) struct Launch<'a> {
    grid: Grid<'a>,
    kernel: &'a Kernel,
    arguments: Vec<*const c_void>,
    memory: &'a Memory,
    worker: &'a mut Worker,
    checks: Checks,
    order: Order,
    /// For the order of the running block's threads.
    random: Random,
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

thread_local! {
    /// For what knows no module: the beginning of a stack, and the handler of signals.
    static CURRENT: Cell<*mut Launch<'static>> = const { Cell::new(null_mut()) };
}

impl Engine {
    pub fn new() -> Option<Self> {
        let random = Random(if let Order::Random(seed) = settings().order { seed } else { 0 });
        // Races between blocks are found in the order in which they run.
        let threads = if settings().checks == Checks::Races { 1 } else { settings().threads };
        let workers = (0..threads).map(|_| Worker::new()).collect::<Option<_>>()?;
        Some(Self { workers, random })
    }

    /// Runs the grid to its end or to its first fault.
    pub fn run(&mut self, grid: Grid, memory: &Memory) -> Result<(), Fault> {
        install_handlers();
        let count = grid.grid.iter().map(|n| u64::from(*n)).product::<u64>();
        let blocks = Blocks::new(count, settings().order, &mut self.random);
        let threads = if grid.module.blocks_are_apart() { (self.workers.len() as u64).min(count) as usize } else { 1 };
        let copies = grid.module.copies(threads - 1)?;
        let (first, others) = self.workers[..threads].split_first_mut().expect("at least one thread");
        let fault = std::thread::scope(|scope| {
            let start = |(worker, module)| {
                let (grid, blocks) = (Grid { module, ..grid }, &blocks);
                scope.spawn(move || with_signal_stack(|| Launch::run(grid, memory, worker, blocks)))
            };
            let started: Vec<_> = others.iter_mut().zip(copies).map(start).collect();
            let mut faults = vec![Launch::run(grid, memory, first, &blocks)];
            faults.extend(started.into_iter().map(|thread| thread.join().expect("a thread that runs blocks")));
            // The same whatever the number of threads: of the first block that has one.
            faults.into_iter().flatten().min_by_key(|(place, _)| *place)
        });
        if let Some(mut counter) = first.counter.take() {
            others.iter_mut().filter_map(|worker| worker.counter.as_mut()).for_each(|other| counter.add(other));
            let text = counter.end_launch(grid.kernel, |callers| grid.module.places(callers));
            first.counter = Some(counter);
            append(&text)?;
        }
        match (fault, memory.broken_guard()) {
            (Some((_, fault)), _) => Err(fault),
            (None, Some(what)) => Err(Fault(status::ILLEGAL_ADDRESS, format!("kernel `{}`: {what}", grid.kernel))),
            (None, None) => Ok(()),
        }
    }
}

impl Worker {
    fn new() -> Option<Self> {
        let dynamic = Some(reserve(DYNAMIC)).filter(|pointer| !pointer.is_null())?;
        let counter = settings().traffic.as_ref().map(|_| Counter::default());
        let shadow = Shadow::new(settings().checks == Checks::Races)?;
        Some(Self { stacks: Stacks::new(MAX_THREADS)?, dynamic, shadow, counter })
    }
}

impl<'a> Launch<'a> {
    /// Runs blocks as long as there are any; the first fault, and the place of its block in their order.
    fn run(grid: Grid<'a>, memory: &'a Memory, worker: &'a mut Worker, blocks: &Blocks) -> Option<(u64, Fault)> {
        let order = blocks.order;
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
        let (shared, indices) = (grid.module.shared_range(), grid.module.indices());
        let kernel = grid.module.kernel(grid.kernel).expect("a kernel of this module");
        let mut launch = Launch {
            memory,
            checks: settings().checks,
            order,
            random: blocks.random,
            scheduler: null_mut(),
            threads: (0..count).map(thread).collect(),
            sequence: (0..count).map(|i| if ascending { i } else { count - 1 - i }).collect(),
            next: 0,
            current: 0,
            block: [0; 3],
            live: 0,
            waiting: 0,
            sum: 0,
            barrier_sum: 0,
            lanes: vec![(0, 0); (count as usize).div_ceil(WARP)],
            shared,
            variables: grid.module.shared_of(kernel).map(|v| (v.start, v.size)).collect(),
            stack: (0, 0),
            thread_index: indices.0,
            fault: None,
            arguments: grid.arguments.iter().map(|bytes| bytes.as_ptr().cast()).collect(),
            kernel,
            grid,
            worker,
        };
        launch.worker.shadow.next_launch(shared.1 + launch.grid.dynamic);
        let pointer = addr_of_mut!(launch).cast::<Launch<'static>>();
        launch.grid.module.set_launch(pointer.cast(), launch.grid.grid, launch.grid.block, launch.worker.dynamic);
        CURRENT.set(pointer);
        let mut fault = None;
        while let Some((place, number)) = blocks.take() {
            let [gx, gy, _] = launch.grid.grid.map(u64::from);
            launch.block = [(number % gx) as u32, (number / gx % gy) as u32, (number / gx / gy) as u32];
            launch.random = blocks.random.of_block(number);
            // SAFETY: the module's own variable.
            unsafe { *indices.1 = launch.block };
            launch.run_block();
            launch.worker.counter.iter_mut().for_each(Counter::end_block);
            if let Some(found) = launch.fault.take() {
                blocks.faulty.fetch_min(place, Ordering::Relaxed);
                fault = Some((place, found));
                break;
            }
        }
        CURRENT.set(null_mut());
        fault
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
            self.worker.dynamic.write_bytes(POISON, self.grid.dynamic);
        }
        self.worker.shadow.next_block(self.block);
        while self.live > 0 && self.fault.is_none() {
            if let Order::Random(_) = self.order {
                self.random.shuffle(&mut self.sequence);
            }
            self.next = 0;
            let mut progress = false;
            while let Some(pointer) = self.choose() {
                progress = true;
                // SAFETY: a stack pointer that `start` or an earlier switch made.
                unsafe { switch(&mut self.scheduler, pointer) };
                if self.threads[self.current].state == State::Done {
                    self.worker.stacks.free.push(self.threads[self.current].stack);
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
                self.worker.stacks.free.push(thread.stack);
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
                    let stack = self.worker.stacks.free.pop().expect("one stack per thread");
                    self.threads[i].stack = stack;
                    self.threads[i].pointer = self.worker.stacks.start(stack, thread_main);
                }
                State::Ready => {}
                _ => continue,
            }
            self.enter(i);
            self.stack = self.worker.stacks.range(self.threads[i].stack);
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
        self.worker.shadow.next_interval();
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
        let (kernel, block, thread) = (self.grid.kernel, self.block, self.threads[thread].index);
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
                if let Err(conflict) = self.worker.shadow.global(place, who, kind) {
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
        } else if let Some(offset) = inside((self.worker.dynamic as usize, DYNAMIC)) {
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
            if let Err(conflict) = self.worker.shadow.shared((offset, size), who, kind) {
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
        if let Some(counter) = &mut self.worker.counter {
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
            self.worker.shadow.next_step(warp);
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
    let launch = CURRENT.get();
    loop {
        // SAFETY: called on a stack of the running launch; another one may have changed it since.
        let launch = unsafe { &mut *launch };
        // SAFETY: the arguments were checked against the kernel's parameters.
        unsafe { (launch.kernel.run)(launch.arguments.as_ptr()) };
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

/// The launch that a kernel's calls are about.
///
/// # Safety
/// It must be what [`Module::set_launch`] was given, and go on.
unsafe fn launch_of<'a>(launch: *mut c_void) -> &'a mut Launch<'static> {
    // SAFETY: the caller's promise.
    unsafe { &mut *launch.cast() }
}

unsafe extern "C" fn access(launch: *mut c_void, address: usize, size: usize, kind: u32, caller: usize) {
    // SAFETY: called by a kernel of this launch.
    unsafe { launch_of(launch) }.access(address, size, Access::from(kind), caller);
}

unsafe extern "C" fn barrier(launch: *mut c_void, predicate: i32, line: i32, _reduction: i32) -> i32 {
    // SAFETY: called by a kernel of this launch.
    let launch = unsafe { launch_of(launch) };
    launch.waiting += 1;
    launch.sum += i32::from(predicate != 0);
    launch.threads[launch.current].line = line;
    launch.wait(State::Barrier);
    launch.barrier_sum
}

unsafe extern "C" fn collective(
    launch: *mut c_void,
    operation: u32,
    mask: u32,
    value: u64,
    source: u32,
    line: i32,
) -> u64 {
    // SAFETY: called by a kernel of this launch.
    let launch = unsafe { launch_of(launch) };
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
unsafe extern "C" fn fail(launch: *mut c_void, failure: u32, line: i32, detail: *const c_char, value: i64) {
    // SAFETY: called by a kernel of this launch with literals.
    let (launch, detail) = unsafe { (launch_of(launch), CStr::from_ptr(detail).to_string_lossy()) };
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
            if let Some(launch) = CURRENT.get().as_ref() {
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

/// Runs `function` on a thread of ours with a stack for the handler of signals, which only a program's own threads have by themselves.
fn with_signal_stack<T>(function: impl FnOnce() -> T) -> T {
    let mut place = vec![0u8; 1 << 16];
    let stack = libc::stack_t { ss_sp: place.as_mut_ptr().cast(), ss_flags: 0, ss_size: place.len() };
    let none = libc::stack_t { ss_sp: null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
    // SAFETY: the memory outlives its use, which ends below.
    unsafe { libc::sigaltstack(&raw const stack, null_mut()) };
    let result = function();
    // SAFETY: nothing runs on it.
    unsafe { libc::sigaltstack(&raw const none, null_mut()) };
    result
}
