//! A pass of a minibatch through the parent network as data: which layers take part for a proposal, in which order nodes can be computed,
//! where all images have to wait for each other, and when a gradient is complete.
//!
//! # Order
//! A node is computed from its inputs; what reads it through a convolution can be computed at once. Parts of a minibatch have to wait for each
//! other only where a batch norm needs the statistics of all images: before a node that adds up normalised outputs, and on the way back
//! before the gradient goes through them. The nodes between two such places are a *group*.
//!
//! # Slots
//! Which candidate of an edge convolves changes from step to step; the room for its output does not. Every input has as many *slots* as
//! candidates can be active at once.
//!
//! Not here: parts of a minibatch, vectors, borders, launches. They are the backends'.

use std::ops::Range;

use super::parent::{Convolution, Layer, Norm, Parent};
use crate::error::{Error, Result};
use crate::network::Owner;
use crate::strategy::{Activity, Proposal};

/// What all passes have in common: room for convolutions and gradients, enough for any proposal of an activity.
///
/// ```
/// use advantage_nas::network::nas_bench_201::pass::PassLayout;
/// use advantage_nas::network::nas_bench_201::{Candidates, Parent, Skeleton};
/// use advantage_nas::strategy::Activity;
///
/// let parent = Parent::new(Skeleton { cells: 1, channels: 4, classes: 2 }, &Candidates::without_zero())?;
/// // Two of the four candidates convolve; the 3 cells have 6 edges each, and 7 convolutions are around them.
/// assert_eq!(PassLayout::new(&parent, Activity::One).slots().len(), 18 + 7);
/// assert_eq!(PassLayout::new(&parent, Activity::All).slots().len(), 36 + 7);
/// # Ok::<(), advantage_nas::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassLayout {
    slots: Vec<Slot>,
    gradients: Vec<GradientBuffer>,
    gradient_of: Vec<usize>,
    completed_by: Vec<Vec<usize>>,
}

/// Room for the output of one convolution of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The node that it is added to.
    pub node: usize,
    /// The input among those of the node.
    pub input: usize,
    /// The node that it reads.
    pub source: usize,
    /// Number among the slots of its node: partial gradients of weights need room for those of one node at a time.
    pub position: usize,
}

/// Room for the gradient of a node, used by several of them one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GradientBuffer {
    /// Channels of all of them.
    pub channels: usize,
    /// Height and width of all of them.
    pub side: usize,
}

impl PassLayout {
    /// The layout for proposals of an activity.
    #[must_use]
    pub fn new(parent: &Parent, activity: Activity) -> Self {
        let mut slots = Vec::new();
        for (node, inputs) in parent.nodes().iter().map(|node| &node.inputs).enumerate() {
            let mut position = 0;
            for (number, input) in inputs.iter().enumerate() {
                let convolutions = input.layers.iter().filter(|layer| matches!(layer, Layer::Convolution(_))).count();
                for _ in 0..activity.slots(convolutions) {
                    slots.push(Slot { node, input: number, source: input.source, position });
                    position += 1;
                }
            }
        }

        // A node's gradient lives from the last node that reads it to the first one.
        let nodes = parent.nodes();
        let (mut gradients, mut free) = (Vec::new(), Vec::<usize>::new());
        let mut gradient_of = vec![usize::MAX; nodes.len()];
        let mut completed_by = vec![Vec::new(); nodes.len()];
        let mut first_reader = vec![None; nodes.len()];
        for index in (1..nodes.len()).rev() {
            let sources = nodes[index].inputs.iter().map(|input| input.source).filter(|source| *source > 0);
            for needed in std::iter::once(index).chain(sources) {
                if gradient_of[needed] == usize::MAX {
                    let buffer = GradientBuffer { channels: nodes[needed].channels, side: nodes[needed].side };
                    let fits = free.iter().position(|place| gradients[*place] == buffer);
                    gradient_of[needed] = fits.map_or_else(
                        || {
                            gradients.push(buffer);
                            gradients.len() - 1
                        },
                        |place| free.swap_remove(place),
                    );
                }
                if needed != index {
                    first_reader[needed] = Some(index);
                }
            }
            free.push(gradient_of[index]);
        }
        for (node, reader) in first_reader.into_iter().enumerate() {
            if let Some(reader) = reader {
                completed_by[reader].push(node);
            }
        }
        Self { slots, gradients, gradient_of, completed_by }
    }

    /// The slots: node by node, input by input.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The gradient buffers.
    #[must_use]
    pub fn gradients(&self) -> &[GradientBuffer] {
        &self.gradients
    }

    /// The buffer of a node's gradient.
    ///
    /// # Panics
    /// For the images, which have no gradient.
    #[must_use]
    pub fn gradient_of(&self, node: usize) -> usize {
        assert!(node > 0, "the images have no gradient");
        self.gradient_of[node]
    }

    /// The nodes whose gradient is complete once that of `node` has been passed on to its sources, whatever the proposal; never the images.
    #[must_use]
    pub fn completed_by(&self, node: usize) -> &[usize] {
        &self.completed_by[node]
    }
}

/// What an active candidate does, or a layer without a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The identity.
    Skip,
    /// 3×3 average pooling.
    AveragePooling,
    /// 2×2 average pooling, stride 2.
    Halving,
    /// A convolution, see [`Selection::chosen`].
    Convolution {
        /// The slot of its output.
        slot: usize,
    },
}

/// A summand of a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// The node that is read.
    pub source: usize,
    /// What is done to it.
    pub operation: Operation,
    /// What the result is multiplied by.
    pub weight: f64,
    /// Edge and candidate; `None` where there is nothing to choose.
    pub place: Option<(usize, usize)>,
    /// Whether it is the first, on the way back, to write the gradient of its source; those that follow add to it.
    pub first_to_write: bool,
}

/// A convolution that takes part in a pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// The layer.
    pub layer: Convolution,
    /// The weight `a` of its edge, 1 where there is nothing to choose.
    pub weight: f64,
}

/// What takes part in a pass. It is chosen anew for every proposal, and allocates nothing then.
///
/// ```
/// use advantage_nas::network::nas_bench_201::pass::{Operation, PassLayout, Selection};
/// use advantage_nas::network::nas_bench_201::{Candidates, Parent, Skeleton};
/// use advantage_nas::strategy::{Activity, Proposal, Want};
/// use advantage_nas::Architecture;
///
/// let parent = Parent::new(Skeleton { cells: 1, channels: 4, classes: 2 }, &Candidates::without_zero())?;
/// let layout = PassLayout::new(&parent, Activity::One);
/// let mut selection = Selection::new(&parent, &layout);
/// let shape = parent.space().shape();
/// let skips = Architecture::new(shape, vec![0; 6])?;
/// selection.select(&parent, &layout, &Proposal::one_hot(shape, &skips, Want::Loss)?, None)?;
/// // Images, stem, and the nodes of the first cell; its last one adds up three others.
/// assert!(selection.terms(4).iter().all(|term| term.operation == Operation::Skip));
/// assert_eq!(selection.terms(4).iter().map(|term| term.source).collect::<Vec<_>>(), [1, 2, 3]);
/// # Ok::<(), advantage_nas::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Selection {
    terms: Vec<Vec<Term>>,
    readers: Vec<Vec<usize>>,
    chosen: Vec<Option<Chosen>>,
    /// Of every parameter.
    active: Vec<bool>,
    reached: Vec<bool>,
    forward_groups: Vec<Range<usize>>,
    backward_groups: Vec<Range<usize>>,
}

impl Selection {
    /// Room for a selection; nothing takes part yet.
    #[must_use]
    pub fn new(parent: &Parent, layout: &PassLayout) -> Self {
        let nodes = parent.nodes();
        let most_terms = |inputs: &[super::parent::Input]| inputs.iter().map(|input| input.layers.len()).sum();
        let most_readers = |node| layout.slots.iter().filter(|slot| slot.source == node).count();
        Self {
            terms: nodes.iter().map(|node| Vec::with_capacity(most_terms(&node.inputs))).collect(),
            readers: (0..nodes.len()).map(|node| Vec::with_capacity(most_readers(node))).collect(),
            chosen: vec![None; layout.slots.len()],
            active: vec![false; parent.parameters().len()],
            reached: vec![false; nodes.len()],
            forward_groups: Vec::with_capacity(nodes.len()),
            backward_groups: Vec::with_capacity(nodes.len()),
        }
    }

    /// Chooses what takes part for a proposal, without edge `without`; parent and layout are those that it was made for.
    ///
    /// # Errors
    /// [`Error::Shape`] for a proposal over another space, [`Error::Unsupported`] for more convolutions of an edge at once than there are slots;
    /// nothing takes part then.
    pub fn select(
        &mut self,
        parent: &Parent,
        layout: &PassLayout,
        proposal: &Proposal,
        without: Option<usize>,
    ) -> Result<()> {
        self.clear();
        parent.space().shape().expect("proposal", proposal.shape())?;
        if let Err(error) = self.list(parent, layout, proposal, without) {
            self.clear();
            return Err(error);
        }
        for (active, parameter) in self.active.iter_mut().zip(parent.parameters()) {
            *active = match parameter.owner {
                Owner::Candidate { edge, .. } | Owner::Edge { edge } if Some(edge) == without => false,
                owner => owner.takes_part(proposal, None),
            };
        }
        self.order(layout);
        Ok(())
    }

    fn clear(&mut self) {
        self.terms.iter_mut().for_each(Vec::clear);
        self.readers.iter_mut().for_each(Vec::clear);
        self.chosen.fill(None);
        self.active.fill(false);
        self.reached.fill(false);
        self.forward_groups.clear();
        self.backward_groups.clear();
    }

    /// Lists terms, chosen convolutions and readers.
    fn list(
        &mut self,
        parent: &Parent,
        layout: &PassLayout,
        proposal: &Proposal,
        without: Option<usize>,
    ) -> Result<()> {
        let mut next = 0;
        for (node, inputs) in parent.nodes().iter().map(|node| &node.inputs).enumerate() {
            for (number, input) in inputs.iter().enumerate() {
                // The slots of this input are the next ones.
                let slots = layout.slots[next..].iter().take_while(|slot| slot.node == node && slot.input == number);
                let mut free = next..next + slots.count();
                next = free.end;
                if input.edge.is_some() && input.edge == without {
                    continue;
                }
                for (candidate, layer) in input.layers.iter().enumerate() {
                    let place = input.edge.map(|edge| (edge, candidate));
                    if place.is_some_and(|place| !proposal.active()[place]) {
                        continue;
                    }
                    let weight = place.map_or(1.0, |place| proposal.weights()[place]);
                    let operation = match *layer {
                        Layer::Zero => continue,
                        Layer::Skip => Operation::Skip,
                        Layer::AveragePooling => Operation::AveragePooling,
                        Layer::Halving => Operation::Halving,
                        Layer::Convolution(layer) => {
                            let slot = free.next().ok_or(Error::Unsupported {
                                operation: "evaluate so many candidates of an edge at once",
                                reason: "its memory was planned for fewer",
                            })?;
                            self.chosen[slot] = Some(Chosen { layer, weight });
                            self.readers[input.source].push(slot);
                            Operation::Convolution { slot }
                        }
                    };
                    let source = input.source;
                    self.terms[node].push(Term { source, operation, weight, place, first_to_write: false });
                }
            }
        }
        Ok(())
    }

    /// Finds the groups, and which term is the first to write a gradient.
    fn order(&mut self, layout: &PassLayout) {
        let nodes = self.terms.len();
        let mut first = 0;
        for node in 1..nodes {
            // An output that was computed since all images were last waited for.
            let waits = self.terms[node].iter().any(|term| self.normalized(term) && term.source >= first);
            if waits {
                self.forward_groups.push(first..node);
                first = node;
            }
        }
        self.forward_groups.push(first..nodes);

        self.reached[nodes - 1] = true;
        for node in (1..nodes).rev() {
            for term in &mut self.terms[node] {
                term.first_to_write = !self.reached[term.source];
                self.reached[term.source] = true;
            }
        }
        // Going back, the sums over a node's gradient are known once all images were waited for after its first reader. A group has at most
        // one node with convolutions in front of it, for the gradients of whose weights there is room.
        let mut end = nodes;
        let mut convolves = false;
        for node in (1..nodes).rev() {
            if self.terms[node].iter().any(|term| matches!(term.operation, Operation::Convolution { .. })) {
                let unknown = layout.completed_by[node + 1..end].iter().flatten().any(|completed| *completed == node);
                if unknown || convolves {
                    self.backward_groups.push(node + 1..end);
                    end = node + 1;
                }
                convolves = true;
            }
        }
        self.backward_groups.push(1..end);
    }

    /// Whether a batch norm follows.
    fn normalized(&self, term: &Term) -> bool {
        let Operation::Convolution { slot } = term.operation else { return false };
        self.chosen[slot].is_some_and(|chosen| chosen.layer.norm != Norm::Without)
    }

    /// The summands of a node, in the order in which they are added; none for the images.
    #[must_use]
    pub fn terms(&self, node: usize) -> &[Term] {
        &self.terms[node]
    }

    /// The slots that read a node, in their order.
    #[must_use]
    pub fn readers(&self, node: usize) -> &[usize] {
        &self.readers[node]
    }

    /// The convolution of every slot; `None` of those that take no part.
    #[must_use]
    pub fn chosen(&self) -> &[Option<Chosen>] {
        &self.chosen
    }

    /// Whether every parameter takes part.
    #[must_use]
    pub fn active(&self) -> &[bool] {
        &self.active
    }

    /// Whether a gradient reaches a node; that of others is zero.
    #[must_use]
    pub fn reached(&self, node: usize) -> bool {
        self.reached[node]
    }

    /// The groups in the order of the forward pass; together they are all nodes.
    #[must_use]
    pub fn forward_groups(&self) -> &[Range<usize>] {
        &self.forward_groups
    }

    /// The groups in the order of the way back, from the last node to the first; together they are all nodes but the images. In a group, nodes
    /// are gone through from the last to the first.
    #[must_use]
    pub fn backward_groups(&self) -> &[Range<usize>] {
        &self.backward_groups
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::network::nas_bench_201::{Candidates, EDGES, Skeleton};
    use crate::space::{Architecture, OpTable};
    use crate::strategy::Want;

    const SKELETON: Skeleton = Skeleton { cells: 2, channels: 4, classes: 2 };

    fn parents() -> [Parent; 2] {
        [Candidates::with_zero(), Candidates::without_zero()]
            .map(|candidates| Parent::new(SKELETON, &candidates).unwrap())
    }

    /// Proposals of every activity, uniformly drawn, and all candidates alike.
    fn proposals(parent: &Parent, activity: Activity) -> Vec<Proposal> {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let shape = parent.space().shape();
        let candidates = shape.candidates(0);
        let mut proposals = Vec::new();
        for _ in 0..60 {
            let mut proposal = Proposal::new(shape);
            let mut draw = |bound: usize| rng.random_range(0..bound);
            match activity {
                Activity::One => {
                    let choices: Vec<usize> = (0..EDGES).map(|_| draw(candidates)).collect();
                    proposal.set_one_hot(&Architecture::new(shape, choices).unwrap(), Want::Loss).unwrap();
                }
                Activity::Two => {
                    let pair = |_| {
                        let (one, step) = (draw(candidates), 1 + draw(candidates - 1));
                        [one, (one + step) % candidates]
                    };
                    let pairs: Vec<[usize; 2]> = (0..EDGES).map(pair).collect();
                    proposal.set_pairs(&pairs, Want::Loss).unwrap();
                }
                Activity::All => {
                    let weights = OpTable::from_fn(shape, |_, _| draw(1000) as f64 / 1000.0);
                    proposal.set_dense(&weights, Want::Loss).unwrap();
                }
            }
            proposals.push(proposal);
        }
        if activity == Activity::One {
            for candidate in 0..candidates {
                let architecture = Architecture::new(shape, vec![candidate; EDGES]).unwrap();
                proposals.push(Proposal::one_hot(shape, &architecture, Want::Loss).unwrap());
            }
        }
        proposals
    }

    /// Every selection of every kind of proposal, each edge left out in turn.
    fn each_selection(mut check: impl FnMut(&Parent, &PassLayout, &Proposal, Option<usize>, &Selection)) {
        for parent in &parents() {
            for activity in Activity::ALL {
                let layout = PassLayout::new(parent, activity);
                let mut selection = Selection::new(parent, &layout);
                for (number, proposal) in proposals(parent, activity).iter().enumerate() {
                    for without in [None, Some(number % EDGES)] {
                        selection.select(parent, &layout, proposal, without).unwrap();
                        check(parent, &layout, proposal, without, &selection);
                    }
                }
            }
        }
    }

    /// Readers of a node, straight from the parent network: all of them, whatever takes part.
    fn readers_of(parent: &Parent, node: usize) -> impl Iterator<Item = usize> {
        let nodes = parent.nodes().iter().enumerate();
        nodes.filter(move |(_, reader)| reader.inputs.iter().any(|input| input.source == node)).map(|(place, _)| place)
    }

    #[test]
    fn every_input_has_slots_for_its_convolutions() {
        let parent = &parents()[0];
        for (activity, at_once) in [(Activity::One, 1), (Activity::Two, 2), (Activity::All, 2)] {
            let layout = PassLayout::new(parent, activity);
            for (index, node) in parent.nodes().iter().enumerate() {
                let of_node = layout.slots().iter().filter(|slot| slot.node == index);
                for (position, slot) in of_node.clone().enumerate() {
                    assert_eq!((slot.position, slot.source), (position, node.inputs[slot.input].source));
                }
                for (number, input) in node.inputs.iter().enumerate() {
                    let convolution = matches!(input.layers[0], Layer::Convolution(_));
                    let expected = if input.edge.is_some() { at_once } else { usize::from(convolution) };
                    assert_eq!(of_node.clone().filter(|slot| slot.input == number).count(), expected, "{}", node.name);
                }
            }
        }
    }

    /// The gradient of node `n` is written by its readers, from the last one on, and read when `n` itself is passed on: two nodes with one
    /// buffer have lives that do not touch, since a node and its sources are needed at the same time.
    #[test]
    fn gradients_that_are_alive_at_once_have_buffers_of_their_own() {
        let parent = &parents()[0];
        let layout = PassLayout::new(parent, Activity::One);
        let nodes = parent.nodes();
        let life = |node: usize| node..=readers_of(parent, node).max().unwrap_or(node);
        for (node, described) in nodes.iter().enumerate().skip(1) {
            let buffer = layout.gradients()[layout.gradient_of(node)];
            assert_eq!((buffer.channels, buffer.side), (described.channels, described.side));
            for other in 1..node {
                let together = life(other).end() >= life(node).start();
                assert!(!together || layout.gradient_of(node) != layout.gradient_of(other), "nodes {other} and {node}");
            }
        }
        // Four of a cell and one of a reduction block's are alive at once, in each of three sizes; not one for every node.
        assert!(layout.gradients().len() <= 3 * 5, "{:?}", layout.gradients());
    }

    #[test]
    fn a_gradient_is_complete_after_its_first_reader() {
        let parent = &parents()[1];
        let layout = PassLayout::new(parent, Activity::One);
        let last = parent.nodes().len() - 1;
        let mut completed = vec![None; last + 1];
        for reader in 0..=last {
            for &node in layout.completed_by(reader) {
                assert_eq!(completed[node].replace(reader), None, "node {node} is completed twice");
            }
        }
        assert_eq!((completed[0], completed[last]), (None, None), "images have none, the head completes the last one");
        for (node, reader) in completed.iter().enumerate().take(last).skip(1) {
            assert_eq!(*reader, readers_of(parent, node).min());
        }
    }

    /// Going back as a network does: whatever was not written before is overwritten.
    #[test]
    fn the_first_to_write_a_gradient_finds_nothing_there() {
        each_selection(|parent, _, _, _, selection| {
            let last = parent.nodes().len() - 1;
            let mut written = vec![false; last + 1];
            written[last] = true;
            for node in (1..=last).rev() {
                for term in selection.terms(node) {
                    assert_eq!(term.first_to_write, !written[term.source]);
                    written[term.source] = true;
                }
            }
            for (node, written) in written.into_iter().enumerate() {
                assert_eq!(selection.reached(node), written);
            }
        });
    }

    #[test]
    fn terms_are_the_active_candidates() {
        each_selection(|parent, layout, proposal, without, selection| {
            let mut slots = Vec::new();
            for (index, node) in parent.nodes().iter().enumerate() {
                let mut terms = selection.terms(index).iter();
                for input in &node.inputs {
                    for (candidate, layer) in input.layers.iter().enumerate() {
                        let place = input.edge.map(|edge| (edge, candidate));
                        let active = place.is_none_or(|place| proposal.active()[place] && Some(place.0) != without);
                        if !active || *layer == Layer::Zero {
                            continue;
                        }
                        let term = terms.next().unwrap();
                        let weight = place.map_or(1.0, |place| proposal.weights()[place]);
                        assert_eq!((term.source, term.place, term.weight), (input.source, place, weight));
                        match (layer, term.operation) {
                            (Layer::Convolution(layer), Operation::Convolution { slot }) => {
                                assert_eq!(selection.chosen()[slot], Some(Chosen { layer: *layer, weight }));
                                assert_eq!(
                                    (layout.slots()[slot].node, layout.slots()[slot].source),
                                    (index, input.source)
                                );
                                assert!(selection.active()[layer.weight]);
                                slots.push(slot);
                            }
                            (Layer::Skip, Operation::Skip)
                            | (Layer::AveragePooling, Operation::AveragePooling)
                            | (Layer::Halving, Operation::Halving) => {}
                            other => panic!("{other:?}"),
                        }
                    }
                }
                assert_eq!(terms.next(), None);
            }
            // Every convolution has a slot of its own, and is read from where its slot says.
            let mut distinct = slots.clone();
            distinct.dedup();
            assert_eq!(distinct, slots);
            assert_eq!(selection.chosen().iter().flatten().count(), slots.len());
            let mut read: Vec<usize> =
                (0..parent.nodes().len()).flat_map(|node| selection.readers(node)).copied().collect();
            for (node, readers) in (0..parent.nodes().len()).map(|node| (node, selection.readers(node))) {
                assert!(readers.iter().all(|slot| layout.slots()[*slot].source == node));
            }
            read.sort_unstable();
            assert_eq!(read, slots);
            // Parameters: the skeleton's, and those of the convolutions that were chosen.
            for (parameter, active) in parent.parameters().iter().zip(selection.active()) {
                let expected = match parameter.owner {
                    Owner::Candidate { edge, candidate } => {
                        proposal.active()[(edge, candidate)] && Some(edge) != without
                    }
                    _ => true,
                };
                assert_eq!(*active, expected, "{}", parameter.name);
            }
        });
    }

    /// Statistics are those of all images where all images were waited for: between the node that a convolution reads and the one that adds its
    /// normalised output up. No wait is without need.
    #[test]
    fn forward_groups_wait_for_statistics_and_for_nothing_else() {
        each_selection(|parent, _, _, _, selection| {
            let groups = selection.forward_groups();
            assert_eq!((groups[0].start, groups[groups.len() - 1].end), (0, parent.nodes().len()));
            for pair in groups.windows(2) {
                assert_eq!(pair[0].end, pair[1].start);
                let needed = selection.terms(pair[1].start).iter();
                assert!(needed.into_iter().any(|term| selection.normalized(term) && pair[0].contains(&term.source)));
            }
            for group in groups {
                for node in group.clone() {
                    let mut normalized = selection.terms(node).iter().filter(|term| selection.normalized(term));
                    assert!(normalized.all(|term| term.source < group.start), "node {node} of {group:?}");
                }
            }
        });
    }

    /// On the way back, a node that convolutions lead to needs the sums over its gradient, which are joined when all images were waited for after
    /// the node that completed it; and there is room for the gradients of the filters of one such node in a group.
    #[test]
    fn backward_groups_wait_for_sums_and_for_nothing_else() {
        each_selection(|parent, layout, _, _, selection| {
            let groups = selection.backward_groups();
            let last = parent.nodes().len() - 1;
            assert_eq!((groups[0].end, groups[groups.len() - 1].start), (last + 1, 1));
            let convolves = |node: usize| {
                let mut terms = selection.terms(node).iter();
                terms.any(|term| matches!(term.operation, Operation::Convolution { .. }))
            };
            for pair in groups.windows(2) {
                assert_eq!(pair[0].start, pair[1].end);
                let first = pair[1].end - 1;
                let unknown = pair[0].clone().any(|node| layout.completed_by(node).contains(&first));
                assert!(convolves(first) && (unknown || pair[0].clone().any(convolves)), "{pair:?}");
            }
            for group in groups {
                assert!(group.clone().filter(|node| convolves(*node)).count() <= 1, "{group:?}");
                for node in group.clone().filter(|node| convolves(*node)) {
                    let completed_in_it = group.clone().any(|reader| layout.completed_by(reader).contains(&node));
                    assert!(!completed_in_it, "node {node} of {group:?}");
                }
            }
        });
    }

    #[test]
    fn more_candidates_than_slots_are_refused() {
        let parent = &parents()[0];
        let layout = PassLayout::new(parent, Activity::One);
        let mut selection = Selection::new(parent, &layout);
        let all = &proposals(parent, Activity::All)[0];
        let error = selection.select(parent, &layout, all, None).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!((0..parent.nodes().len()).all(|node| selection.terms(node).is_empty()));
        assert!(selection.active().iter().all(|active| !active));
        let other = Proposal::new(&crate::space::Shape::new([2, 2]).unwrap());
        assert!(matches!(selection.select(parent, &layout, &other, None), Err(Error::Shape { .. })));
    }
}
