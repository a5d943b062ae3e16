//! The tables of the kernels in `kernels/nas_bench_201`, an operator a file, and what they share with the host: the plan of a pass, see
//! `kernels/nas_bench_201/plan.cuh`.
//!
//! - [`forward`]: the value of a node, and the convolutions that read it
//! - [`head`]: what is behind the last node
//! - [`backward`]: the gradient of a node; `∂loss/∂a`
//! - [`weights`]: gradients of the weights
//! - [`update`]: clipping, and the step along the gradients

pub mod backward;
pub mod forward;
pub mod head;
pub mod update;
pub mod weights;

use crate::device::source::{Constant, Struct};
use crate::device::{Buffer, Device, Staged};
use crate::error::Result;
use crate::kernels::table::int;

/// The file that all of them begin with.
const PLAN: (&str, &str) = ("nas_bench_201/plan.cuh", include_str!("../../../kernels/nas_bench_201/plan.cuh"));

/// Rows of a tile.
pub const TILE_ROWS: usize = 8;
/// Where something has no place: the scale of a batch norm without one, the edge of a term without a choice.
pub const NOWHERE: u32 = u32::MAX;
/// Kinds of terms: the identity, 3×3 average pooling, 2×2 average pooling of stride 2, a normalised convolution, one without batch norm.
pub const SKIP: usize = 0;
/// See [`SKIP`].
pub const POOL: usize = 1;
/// See [`SKIP`].
pub const HALVE: usize = 2;
/// See [`SKIP`].
pub const NORMALIZED: usize = 3;
/// See [`SKIP`].
pub const PLAIN: usize = 4;

/// Slices of the gradient of a filter at outputs of 32×32 pixels: parts of the minibatch that are added up one after the other.
pub const SPLITS_32: usize = 16;
/// The same at 16×16 pixels.
pub const SPLITS_16: usize = 8;
/// The same at 8×8 pixels.
pub const SPLITS_8: usize = 4;

/// What all modules know: constants, and structs that lie in the plan or are passed by value.
const CONSTANTS: &[Constant] =
    constants![TILE_ROWS, SKIP, POOL, HALVE, NORMALIZED, PLAIN, SPLITS_32, SPLITS_16, SPLITS_8];

/// See [`CONSTANTS`].
const STRUCTS: &[Struct] = &[
    Ask::STRUCT,
    Node::STRUCT,
    Term::STRUCT,
    Out::STRUCT,
    Slot::STRUCT,
    Take::STRUCT,
    Sample::STRUCT,
    Sizes::STRUCT,
    Shape::STRUCT,
    Head::STRUCT,
];

/// The constants of a module: those of all, and its own.
const fn and<T: Copy, const N: usize>(shared: &[T], own: &[T]) -> [T; N] {
    assert!(shared.len() + own.len() == N, "the length of both");
    let mut all = [shared[0]; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < shared.len() { shared[at] } else { own[at - shared.len()] };
        at += 1;
    }
    all
}

/// Values of so many parts of a buffer.
fn every(parts: i32, values: u32) -> usize {
    parts as usize * values as usize
}

/// A word of the plan.
pub(crate) trait Word {
    fn word(self) -> u32;
}

impl Word for u32 {
    fn word(self) -> u32 {
        self
    }
}

impl Word for i32 {
    fn word(self) -> u32 {
        self as u32
    }
}

impl Word for f32 {
    fn word(self) -> u32 {
        self.to_bits()
    }
}

/// A struct of words in the plan.
macro_rules! record {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        description! {
            $(#[$meta])*
            pub struct $name { $($(#[$field_meta])* $field: $type,)* }
        }

        impl $name {
            /// Its words.
            pub const WORDS: usize = size_of::<Self>() / size_of::<u32>();

            /// Writes it to the plan.
            pub(crate) fn write(self, words: &mut [u32]) {
                let fields = [$($crate::kernels::nas_bench_201::Word::word(self.$field)),*];
                words[..Self::WORDS].copy_from_slice(&fields);
            }
        }
    };
}

record! {
    /// What a lane is asked. Its first word is 0 where there is no request: blocks of such a lane end at once.
    pub struct Ask {
        /// Whether there is a request.
        present: i32,
        /// The place of its trial's weights.
        trial: i32,
        /// Images of its minibatch, at least one.
        images: i32,
        /// Where in the list of outcomes its loss goes.
        outcome: i32,
        /// Whether running statistics move.
        running: i32,
        /// Whether sums for `∂loss/∂a` of identities and poolings are wanted; those of convolutions come anyway.
        edges: i32,
        /// Whether `∂loss/∂a` of inactive candidates is wanted too, as if their outputs were all ones.
        units: i32,
        /// Nothing.
        spare: i32,
    }
}

record! {
    /// How much of the lists of a node there is.
    pub struct Node {
        /// Terms that are added up.
        terms: i32,
        /// What reads it beside convolutions.
        outs: i32,
    }
}

record! {
    /// A term of a node.
    pub struct Term {
        /// [`SKIP`] to [`PLAIN`].
        kind: i32,
        /// What the layer's output is multiplied by.
        weight: f32,
        /// In the tensors: what the identity or a pooling reads, or the output of the convolution. That read by [`HALVE`] has twice the node's side;
        /// all have the node's channels.
        data: u32,
        /// In the sums: statistics of that output; only of [`NORMALIZED`], as what follows up to `running`.
        statistics: u32,
        /// In the norms: `[2, channels]`, where mean and `1/√(v + ε)` are kept for the way back.
        norm: u32,
        /// In the weights: scale of the batch norm, or [`NOWHERE`].
        scale: u32,
        /// In the weights: shift of the batch norm, or [`NOWHERE`].
        shift: u32,
        /// In the running statistics: `[2, channels]`, mean and variance, or [`NOWHERE`].
        running: u32,
        /// In the sums: room for `[channels, tiles]` of g times what the weight multiplies: of a normalised convolution z − mean (its `1/√(v + ε)` is
        /// left out), of others the layer's output.
        sum: u32,
        /// Edge and candidate, `edge · candidates + candidate`, or [`NOWHERE`].
        place: u32,
    }
}

record! {
    /// A layer without weights that reads a node.
    pub struct Out {
        /// [`SKIP`], [`POOL`] or [`HALVE`].
        kind: i32,
        /// What its output is multiplied by.
        weight: f32,
        /// In the tensors: the gradient of the node that it is added to.
        gradient: u32,
    }
}

record! {
    /// A convolution that reads a node, or room for one.
    pub struct Slot {
        /// Height and width of its filters, odd; 0 if it takes no part, and then nothing else may be read.
        kernel: i32,
        /// Whether its input goes through ReLU.
        relu: i32,
        /// Whether a batch norm follows.
        normalized: i32,
        /// Input channels.
        inputs: i32,
        /// Output channels.
        outputs: i32,
        /// What the normalised output is multiplied by.
        weight: f32,
        /// In the weights: filters `[outputs, inputs, kernel, kernel]`.
        filters: u32,
        /// In the weights: scale of the batch norm, or [`NOWHERE`].
        scale: u32,
        /// In the tensors: the output z.
        output: u32,
        /// In the sums: statistics of the output, `[outputs, tiles]`.
        statistics: u32,
        /// In the norms: `[2, outputs]`, mean and `1/√(v + ε)`.
        norm: u32,
        /// In the tensors: the value of the node that it reads.
        source: u32,
        /// In the tensors: the gradient of the node that it is added to.
        gradient: u32,
        /// In the sums: `[outputs, tiles]` of that gradient.
        gradient_sum: u32,
        /// In the sums: `[outputs, tiles]` of that gradient times z − mean.
        sum: u32,
        /// In the partial gradients of the weights: `[SPLITS, outputs, inputs, kernel, kernel]`, then, where there is a scale, the gradients of scale and
        /// shift `[2, outputs]`.
        partial: u32,
    }
}

record! {
    /// What becomes of a parameter in an update.
    pub struct Take {
        /// Whether it takes part.
        used: i32,
        /// Parts that its gradient is the sum of.
        slices: i32,
        /// In the partial gradients: `[slices, length]`.
        partial: u32,
    }
}

record! {
    /// An image of a minibatch, `[lanes, batch]` of them in device memory.
    pub struct Sample {
        /// Which of the images on the device.
        image: u32,
        /// Row of the padded image that becomes the first.
        top: i32,
        /// Column of the padded image that becomes the first.
        left: i32,
        /// Whether left and right change places before the crop.
        flip: i32,
        /// Its class.
        label: i32,
    }
}

record! {
    /// The node that an edge of a cell leads to.
    pub struct Target {
        /// Its number.
        node: i32,
        /// Its channels.
        channels: i32,
        /// Its height and width.
        side: i32,
        /// In the sums: `[channels, tiles]` of its gradient.
        gradient_sum: u32,
    }
}

description! {
    /// What is behind the last node, the same for all passes: batch norm, ReLU, average over all pixels, linear layer, softmax and cross-entropy.
    pub struct Head {
        /// The last node.
        node: i32,
        /// Its channels.
        channels: i32,
        /// Its height and width.
        side: i32,
        /// Outputs of the linear layer.
        classes: i32,
        /// In the tensors: the value of the last node.
        value: u32,
        /// In the tensors: its gradient.
        gradient: u32,
        /// In the sums: `[channels, tiles]` of its gradient.
        gradient_sum: u32,
        /// In the sums: statistics of its value, `[channels, tiles]` float2.
        statistics: u32,
        /// In the norms: `[2, channels]`, mean and `1/√(v + ε)`.
        norm: u32,
        /// In the weights: scale of the batch norm.
        scale: u32,
        /// In the weights: shift of the batch norm.
        shift: u32,
        /// In the running statistics: `[2, channels]`.
        running: u32,
        /// In the weights: the linear layer's `[classes, channels]`.
        weight: u32,
        /// In the weights: the linear layer's `[classes]`.
        bias: u32,
        /// In the tensors: averages `[batch, channels]`.
        features: u32,
        /// In the tensors: `[batch, classes]`.
        logits: u32,
        /// In the tensors: gradient of the logits `[batch, classes]`.
        logit_slopes: u32,
        /// In the tensors: gradient of the averages `[batch, channels]`.
        feature_slopes: u32,
        /// In the sums: `[2, channels, batch]`; of every image the sums over its pixels of the gradient of the batch norm's output y, and of that times x − mean.
        sum: u32,
        /// In the partial gradients: those of linear layer, bias, scale and shift, `[classes, channels]`, `[classes]`, `[channels]`, `[channels]`.
        partial: u32,
    }
}

description! {
    /// Sizes of the parts of buffers, as kernels are told.
    pub struct Sizes {
        /// Nodes of the network.
        nodes: i32,
        /// Terms that a node has at most.
        terms: i32,
        /// Layers without weights that read a node, at most.
        outs: i32,
        /// Slots of the network.
        slots: i32,
        /// Images of a minibatch, at most.
        batch: i32,
        /// Words of a lane's plan.
        plan: u32,
        /// Where in it the [`Node`]s begin.
        node_words: u32,
        /// Where in it the [`Term`]s begin.
        term_words: u32,
        /// Where in it the [`Out`]s begin.
        out_words: u32,
        /// Where in it the [`Slot`]s begin.
        slot_words: u32,
        /// Where in it the [`Take`]s begin.
        take_words: u32,
        /// Floats of a lane's tensors.
        tensors: u32,
        /// Floats of a lane's sums.
        sums: u32,
        /// Floats of a lane's norms.
        norms: u32,
        /// Floats of a lane's partial gradients.
        partials: u32,
        /// Floats of a trial's weights.
        weights: u32,
        /// Doubles of a trial's running statistics.
        running: u32,
        /// Lanes.
        lanes: i32,
        /// Trials.
        trials: i32,
    }
}

description! {
    /// A node of the network, the same for all passes.
    pub struct Shape {
        /// Its number.
        node: i32,
        /// Its channels.
        channels: i32,
        /// Its height and width.
        side: i32,
        /// The first of the slots that read it.
        first_slot: i32,
        /// How many there are.
        slots: i32,
        /// Channels of their outputs.
        outputs: i32,
        /// Whether they have a ReLU; all have or none.
        relu: i32,
        /// In the tensors: its value.
        value: u32,
        /// In the tensors: its gradient.
        gradient: u32,
        /// In the sums: `[channels, tiles]` of its gradient.
        gradient_sum: u32,
    }
}

impl Sizes {
    /// Sizes of a plan with so many of everything.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) for sizes that kernels can't count.
    pub(crate) fn new(
        nodes: usize,
        terms: usize,
        outs: usize,
        slots: usize,
        parameters: usize,
        batch: usize,
    ) -> Result<Self> {
        let node_words = Ask::WORDS;
        let term_words = node_words + nodes * Node::WORDS;
        let out_words = term_words + nodes * terms * Term::WORDS;
        let slot_words = out_words + nodes * outs * Out::WORDS;
        let take_words = slot_words + slots * Slot::WORDS;
        let plan = take_words + parameters * Take::WORDS;
        let words = |count: usize| Ok::<u32, crate::Error>(int("words of a plan", count)?.unsigned_abs());
        Ok(Self {
            nodes: int("nodes", nodes)?,
            terms: int("terms of a node", terms)?,
            outs: int("layers that read a node", outs)?,
            slots: int("slots", slots)?,
            batch: int("images of a minibatch", batch)?,
            plan: words(plan)?,
            node_words: words(node_words)?,
            term_words: words(term_words)?,
            out_words: words(out_words)?,
            slot_words: words(slot_words)?,
            take_words: words(take_words)?,
            tensors: 0,
            sums: 0,
            norms: 0,
            partials: 0,
            weights: 0,
            running: 0,
            lanes: 0,
            trials: 0,
        })
    }
}

/// Tiles of so many images of a side.
#[must_use]
pub const fn tiles(side: usize, images: usize) -> usize {
    if side < 16 { images.div_ceil(2) } else { images * (side / TILE_ROWS) }
}

/// Words of all lanes' plans, on the host and on the device.
#[derive(Debug)]
pub struct Plan {
    sizes: Sizes,
    host: Vec<u32>,
    staged: Staged<u32>,
}

impl Plan {
    /// A plan in which no lane is asked anything.
    ///
    /// # Errors
    /// What the device reports.
    pub fn new(device: &Device, sizes: Sizes) -> Result<Self> {
        let words = sizes.lanes as usize * sizes.plan as usize;
        Ok(Self { sizes, host: vec![0; words], staged: device.staged("plans", words)? })
    }

    /// The words of a lane from `begin` on.
    fn words(&mut self, lane: usize, begin: usize) -> &mut [u32] {
        let plan = self.sizes.plan as usize;
        &mut self.host[lane * plan..][..plan][begin..]
    }

    /// What a lane is asked; its lists may be written before and after.
    pub fn ask(&mut self, lane: usize, ask: Ask) {
        ask.write(self.words(lane, 0));
    }

    /// A lane is asked nothing: blocks of it end at once.
    pub fn leave(&mut self, lane: usize) {
        self.words(lane, 0)[..Ask::WORDS].fill(0);
    }

    /// How many terms and outs a node has.
    ///
    /// # Panics
    /// For a node that is not there, or more than there is room for.
    pub fn node(&mut self, lane: usize, node: usize, lists: Node) {
        assert!(node < self.sizes.nodes as usize && lists.terms <= self.sizes.terms && lists.outs <= self.sizes.outs);
        let begin = self.sizes.node_words as usize + node * Node::WORDS;
        lists.write(self.words(lane, begin));
    }

    /// A term of a node.
    ///
    /// # Panics
    /// For a place that is not there.
    pub fn term(&mut self, lane: usize, node: usize, index: usize, term: Term) {
        let terms = self.sizes.terms as usize;
        assert!(node < self.sizes.nodes as usize && index < terms);
        let begin = self.sizes.term_words as usize + (node * terms + index) * Term::WORDS;
        term.write(self.words(lane, begin));
    }

    /// A layer without weights that reads a node.
    ///
    /// # Panics
    /// For a place that is not there.
    pub fn out(&mut self, lane: usize, node: usize, index: usize, out: Out) {
        let outs = self.sizes.outs as usize;
        assert!(node < self.sizes.nodes as usize && index < outs);
        let begin = self.sizes.out_words as usize + (node * outs + index) * Out::WORDS;
        out.write(self.words(lane, begin));
    }

    /// A slot.
    ///
    /// # Panics
    /// For a slot that is not there.
    pub fn slot(&mut self, lane: usize, slot: usize, content: Slot) {
        assert!(slot < self.sizes.slots as usize);
        let begin = self.sizes.slot_words as usize + slot * Slot::WORDS;
        content.write(self.words(lane, begin));
    }

    /// What becomes of a parameter.
    ///
    /// # Panics
    /// For a parameter that is not there.
    pub fn take(&mut self, lane: usize, parameter: usize, take: Take) {
        let begin = self.sizes.take_words as usize + parameter * Take::WORDS;
        take.write(self.words(lane, begin));
    }

    /// Copies it to the device, in order with what was submitted; the host does not wait for that.
    ///
    /// # Errors
    /// What the device reports.
    pub fn upload(&mut self) -> Result<()> {
        self.staged.write(&self.host)
    }

    /// Sizes of the parts of buffers.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// On the device.
    #[must_use]
    pub fn buffer(&self) -> &Buffer<u32> {
        self.staged.buffer()
    }
}
