//! What the threads share during a pass: the parent network, what of it takes part, and batch norms.

use advantage_nas::network::nas_bench_201::Parent;
use advantage_nas::network::nas_bench_201::parent::{Affine, Norm};
use advantage_nas::network::nas_bench_201::pass::{Chosen, Operation, PassLayout, Selection, Slot, Term};
use advantage_nas::strategy::Proposal;
use advantage_nas::{Result, strategy::Activity};
use pulp::Arch;

use super::chunk::Chunk;
use super::learned::Learned;
use super::norm::Channels;
use super::sizes::{CHUNK, Sizes, SlotSize, geometry};
use crate::Element;
use crate::layer::Pixel;
use crate::layer::convolution::Convolution;
use crate::layer::map::Summand;
use crate::layer::winograd::Winograd;

#[derive(Debug)]
pub(super) struct Graph<T> {
    pub(super) arch: Arch,
    pub(super) parent: Parent,
    pub(super) layout: PassLayout,
    pub(super) activity: Activity,
    pub(super) sizes: Sizes,
    pub(super) selection: Selection,
    pub(super) convolutions: Vec<SlotConvolution<T>>,
    /// The batch norm of the head.
    pub(super) head: Channels<T>,
    /// Images of the minibatch.
    pub(super) images: usize,
}

/// The convolution of a slot in this pass.
#[derive(Clone, Debug)]
pub(super) struct SlotConvolution<T> {
    pub(super) slot: Slot,
    /// `None` if it takes no part.
    chosen: Option<ChosenConvolution>,
    pub(super) channels: Channels<T>,
    /// Its weights with inputs and outputs exchanged.
    pub(super) transposed: Vec<Pixel<T>>,
    /// Its filters transformed for minimal filtering: those of the forward pass, from the backward pass on those of the gradient.
    pub(super) filters: Vec<Pixel<T>>,
    /// `∂loss/∂a`.
    pub(super) slope: f64,
}

/// A convolution that takes part.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChosenConvolution {
    pub(super) convolution: Convolution,
    /// If it is computed that way.
    pub(super) winograd: Option<Winograd>,
    pub(super) relu: bool,
    pub(super) norm: Norm,
    /// The parameter.
    pub(super) weight: usize,
    pub(super) edge_weight: f64,
}

impl<T: Element> SlotConvolution<T> {
    fn new(slot: Slot, sizes: &Sizes, room: &SlotSize) -> Self {
        Self {
            slot,
            chosen: None,
            channels: Channels::new(sizes.nodes[slot.node].blocks),
            transposed: vec![Pixel::default(); room.transposed],
            filters: vec![Pixel::default(); room.filters],
            slope: 0.0,
        }
    }

    /// The convolution that takes part.
    ///
    /// # Panics
    /// If none does: only slots that terms and readers name are asked.
    pub(super) fn chosen(&self) -> &ChosenConvolution {
        self.chosen.as_ref().expect("terms and readers name slots that take part")
    }

    /// Transforms the filters for the forward pass, if it takes part and is computed that way.
    pub(super) fn transform_filters(&mut self, arch: Arch, learned: &Learned<T>) {
        if let Some(ChosenConvolution { winograd: Some(winograd), weight, .. }) = &self.chosen {
            winograd.transform(arch, learned.weights.value(*weight), &mut self.filters);
        }
    }

    /// Transposes and transforms the filters for the backward pass, if it takes part. The images have no gradient.
    pub(super) fn transpose_filters(&mut self, arch: Arch, learned: &Learned<T>) {
        let Some(ChosenConvolution { convolution, winograd, weight, .. }) = &self.chosen else { return };
        if self.slot.source == 0 {
            return;
        }
        convolution.transpose(learned.weights.value(*weight), &mut self.transposed);
        if let Some(winograd) = winograd {
            winograd.transform_back(arch, &self.transposed[..convolution.transposed_weights()], &mut self.filters);
        }
    }
}

impl ChosenConvolution {
    /// Scale and shift of the batch norm that follows.
    pub(super) fn affine(&self) -> Option<Affine> {
        match self.norm {
            Norm::Affine(affine) => Some(affine),
            Norm::Without | Norm::Plain => None,
        }
    }
}

impl<T: Element> Graph<T> {
    pub(super) fn new(parent: Parent, activity: Activity, batch: usize) -> Self {
        let layout = PassLayout::new(&parent, activity);
        let sizes = Sizes::new(&parent, &layout, batch);
        let slots = layout.slots().iter().zip(&sizes.slots);
        Self {
            arch: Arch::new(),
            selection: Selection::new(&parent, &layout),
            convolutions: slots.map(|(slot, room)| SlotConvolution::new(*slot, &sizes, room)).collect(),
            head: Channels::new(sizes.nodes[sizes.nodes.len() - 1].blocks),
            images: 0,
            activity,
            parent,
            layout,
            sizes,
        }
    }

    /// The last node.
    pub(super) fn last(&self) -> usize {
        self.sizes.nodes.len() - 1
    }

    /// Chooses what takes part in a pass.
    ///
    /// # Errors
    /// As [`Selection::select`].
    pub(super) fn select(
        &mut self,
        learned: &mut Learned<T>,
        proposal: &Proposal,
        without: Option<usize>,
    ) -> Result<()> {
        self.selection.select(&self.parent, &self.layout, proposal, without)?;
        learned.weights.active_mut().copy_from_slice(self.selection.active());
        for (own, chosen) in self.convolutions.iter_mut().zip(self.selection.chosen()) {
            own.slope = 0.0;
            own.chosen = chosen.map(|Chosen { layer, weight }| {
                let convolution = geometry(&self.parent, own.slot.source, own.slot.node, &layer);
                ChosenConvolution {
                    winograd: Winograd::of(&convolution, CHUNK),
                    convolution,
                    relu: layer.relu,
                    norm: layer.norm,
                    weight: layer.weight,
                    edge_weight: weight,
                }
            });
        }
        Ok(())
    }

    pub(super) fn summand<'a>(&'a self, chunk: &'a Chunk<T>, term: &Term, image: usize) -> Summand<'a, T> {
        let length = self.sizes.nodes[term.source].length();
        let x = &chunk.values[term.source];
        let x = || &x[image * length..][..length];
        match term.operation {
            Operation::Skip => Summand::Scaled { x: x(), weight: T::of(term.weight) },
            Operation::AveragePooling => Summand::Pooled { x: x(), weight: T::of(term.weight) },
            Operation::Halving => Summand::Halved { x: x() },
            Operation::Convolution { slot } => {
                let (output, slot) = (&chunk.outputs[slot], &self.convolutions[slot]);
                let length = self.sizes.nodes[slot.slot.node].length();
                let x = &output[image * length..][..length];
                match slot.chosen().norm {
                    Norm::Without => Summand::Scaled { x, weight: T::of(term.weight) },
                    Norm::Plain | Norm::Affine(_) => {
                        let Channels { mean, scale, shift, .. } = &slot.channels;
                        Summand::Normalized { x, mean, scale, shift }
                    }
                }
            }
        }
    }
}
