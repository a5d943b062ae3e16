//! What the core chose for a proposal, as the kernels read it.

use advantage_nas::network::Owner;
use advantage_nas::network::nas_bench_201::Parent;
use advantage_nas::network::nas_bench_201::parent::Norm;
use advantage_nas::network::nas_bench_201::pass::{Operation, Selection};

use super::arena::{Arena, Place, splits};
use crate::kernels::nas_bench_201::{
    Ask, HALVE, NORMALIZED, NOWHERE, Node, Out, PLAIN, POOL, Plan, SKIP, Slot, Take, Term,
};

/// A slot without a convolution.
const NO_CONVOLUTION: Slot = Slot {
    kernel: 0,
    relu: 0,
    normalized: 0,
    inputs: 0,
    outputs: 0,
    weight: 0.0,
    filters: NOWHERE,
    scale: NOWHERE,
    output: NOWHERE,
    statistics: NOWHERE,
    norm: NOWHERE,
    source: NOWHERE,
    gradient: NOWHERE,
    gradient_sum: NOWHERE,
    sum: NOWHERE,
    partial: NOWHERE,
};

/// A parameter that takes no part.
const NOT_TAKEN: Take = Take { used: 0, slices: 0, partial: NOWHERE };

/// Writes plans; what it needs for that is kept.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    /// Layers without weights that read every node, so far.
    outs: Vec<i32>,
}

impl Writer {
    pub(super) fn new(arena: &Arena) -> Self {
        Self { outs: vec![0; arena.shapes.len()] }
    }

    /// Writes the plan of a lane. Nothing is allocated.
    pub(super) fn write(
        &mut self,
        plan: &mut Plan,
        lane: usize,
        parent: &Parent,
        arena: &Arena,
        selection: &Selection,
        ask: Ask,
    ) {
        plan.ask(lane, ask);
        for slot in 0..arena.places.len() {
            plan.slot(lane, slot, NO_CONVOLUTION);
        }
        for parameter in 0..parent.parameters().len() {
            plan.take(lane, parameter, NOT_TAKEN);
        }
        self.outs.fill(0);
        let candidates = parent.candidates().operations().len();
        for (number, node) in parent.nodes().iter().enumerate() {
            let (first_sum, one_sum) = arena.sums[number];
            for (index, term) in selection.terms(number).iter().enumerate() {
                let source = &arena.shapes[term.source];
                let sum = first_sum + index as u32 * one_sum;
                let place = term.place.map_or(NOWHERE, |(edge, candidate)| (edge * candidates + candidate) as u32);
                let mut written = Term {
                    kind: 0,
                    weight: term.weight as f32,
                    data: source.value,
                    statistics: NOWHERE,
                    norm: NOWHERE,
                    scale: NOWHERE,
                    shift: NOWHERE,
                    running: NOWHERE,
                    sum,
                    place,
                };
                let kind = match term.operation {
                    Operation::Skip => SKIP,
                    Operation::AveragePooling => POOL,
                    Operation::Halving => HALVE,
                    Operation::Convolution { slot } => {
                        let place = arena.place_of[slot];
                        let Place { output, statistics, norm, partial, .. } = arena.places[place];
                        let chosen = selection.chosen()[slot].expect("terms name slots that take part");
                        let layer = chosen.layer;
                        let filters = arena.parameters.range(layer.weight);
                        written.data = output;
                        let normalized = layer.norm != Norm::Without;
                        if normalized {
                            (written.statistics, written.norm) = (statistics, norm);
                        }
                        let slices = splits(node.side);
                        plan.take(lane, layer.weight, Take { used: 1, slices: slices as i32, partial });
                        if let Norm::Affine(affine) = layer.norm {
                            written.scale = arena.parameters.range(affine.scale).start as u32;
                            written.shift = arena.parameters.range(affine.shift).start as u32;
                            written.running = arena.running[affine.running];
                            let behind = partial + (slices * parent.parameters()[layer.weight].len()) as u32;
                            plan.take(lane, affine.scale, Take { used: 1, slices: 1, partial: behind });
                            let partial = behind + node.channels as u32;
                            plan.take(lane, affine.shift, Take { used: 1, slices: 1, partial });
                        }
                        let target = &arena.shapes[number];
                        plan.slot(
                            lane,
                            place,
                            Slot {
                                kernel: layer.kernel as i32,
                                relu: i32::from(layer.relu),
                                normalized: i32::from(normalized),
                                inputs: source.channels,
                                outputs: target.channels,
                                weight: chosen.weight as f32,
                                filters: filters.start as u32,
                                scale: written.scale,
                                output,
                                statistics,
                                norm,
                                source: source.value,
                                gradient: target.gradient,
                                gradient_sum: target.gradient_sum,
                                sum,
                                partial,
                            },
                        );
                        if normalized { NORMALIZED } else { PLAIN }
                    }
                };
                written.kind = kind as i32;
                plan.term(lane, number, index, written);
                if !matches!(term.operation, Operation::Convolution { .. }) {
                    let out =
                        Out { kind: kind as i32, weight: term.weight as f32, gradient: arena.shapes[number].gradient };
                    plan.out(lane, term.source, self.outs[term.source] as usize, out);
                    self.outs[term.source] += 1;
                }
            }
        }
        for (number, outs) in self.outs.iter().enumerate() {
            let terms = selection.terms(number).len() as i32;
            plan.node(lane, number, Node { terms, outs: *outs });
        }
        // What is behind the last node takes part always.
        let (head, described) = (&arena.head, parent.head());
        let mut partial = head.partial;
        for parameter in [described.weight, described.bias, described.norm.scale, described.norm.shift] {
            debug_assert_eq!(parent.parameters()[parameter].owner, Owner::Always);
            plan.take(lane, parameter, Take { used: 1, slices: 1, partial });
            partial += parent.parameters()[parameter].len() as u32;
        }
    }
}
