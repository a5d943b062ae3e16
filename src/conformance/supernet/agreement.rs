//! Answers to different questions about the same: they agree, and derivatives are those of the losses.

use super::{Differences, Kind, Running, WANTS, agree, unanswered};
use crate::conformance::report::{Verdict, require, skip};
use crate::estimator;
use crate::strategy::{Feedback, Proposal, Want};
use crate::supernet::{Set, Supernet};

impl<S: Supernet> Running<'_, S> {
    /// Of every kind of proposal, the same one with everything that may be wanted.
    pub(super) fn wants(&mut self) -> Verdict {
        let mut supernet = self.build()?;
        let start = supernet.save(self.trial())?;
        for kind in Kind::ALL {
            let mut answers: Vec<(Want, Proposal, Feedback)> = Vec::new();
            for want in WANTS.into_iter().filter(|want| self.supported.contains(&(kind, *want))) {
                let proposal = self.draw((kind, want), &mut self.rng(15))?;
                let feedback = self.ask_from(&mut supernet, &start, &proposal)?;
                answers.push((want, proposal, feedback));
            }
            let Some((first, _, expected)) = answers.first() else { continue };
            for (want, _, got) in &answers[1..] {
                let name =
                    format!("the loss of {} proposals that want {} and {}", kind.name(), want.name(), first.name());
                agree(name, &[got.loss], &[expected.loss])?;
            }
            let of = |wanted: Want| answers.iter().find(|(want, ..)| *want == wanted);
            let Some((_, proposal, with)) = of(Want::GradientWithUnitOutputs) else { continue };
            let inactive = |edge: usize| {
                let candidates = proposal.active().edge(edge).iter().zip(with.gradient.edge(edge));
                candidates.filter(|(active, _)| !**active).map(|(_, slope)| *slope).collect::<Vec<f64>>()
            };
            // All outputs are the same ones.
            let mut sizes = Vec::new();
            for slopes in (0..self.shape.edges()).map(inactive).filter(|slopes| !slopes.is_empty()) {
                sizes.push(slopes[0].abs());
                let name = format!("gradients of {} proposals' unit outputs at one edge", kind.name());
                agree(name, &slopes, &vec![slopes[0]; slopes.len()])?;
            }
            require(sizes.is_empty() || sizes.iter().any(|size| *size > 0.0), || {
                format!("the gradients of {} proposals' unit outputs are zero", kind.name())
            })?;
            if let Some((.., without)) = of(Want::Gradient) {
                let active = |feedback: &Feedback| {
                    let slopes = feedback.gradient.values().iter().zip(proposal.active().values());
                    slopes.map(|(slope, active)| if *active { *slope } else { 0.0 }).collect::<Vec<f64>>()
                };
                let name = format!("gradients of {} proposals with and without unit outputs", kind.name());
                agree(name, &active(with), &active(without))?;
            }
        }
        Ok(())
    }

    /// Asked for at once, and one by one with the dense proposals that say the same.
    pub(super) fn removals(&mut self) -> Verdict {
        if !self.supported.contains(&(Kind::Dense, Want::Loss)) {
            return skip("dense proposals are not supported");
        }
        let mut supernet = self.build()?;
        let start = supernet.save(self.trial())?;
        let mut asked = false;
        for kind in Kind::ALL.into_iter().filter(|kind| self.supported.contains(&(*kind, Want::Removals))) {
            let proposal = self.draw((kind, Want::Removals), &mut self.rng(16))?;
            let got = self.ask_from(&mut supernet, &start, &proposal)?.removals;
            let mut expected = Vec::new();
            for edge in 0..self.shape.edges() {
                let (mut weights, mut without) = (proposal.weights().clone(), proposal.clone());
                weights.edge_mut(edge).fill(0.0);
                without.set_dense(&weights, Want::Loss)?;
                expected.push(self.ask_from(&mut supernet, &start, &without)?.loss);
            }
            agree(format!("losses of {} proposals without each edge", kind.name()), &got, &expected)?;
            asked = true;
        }
        if asked { Ok(()) } else { skip("losses without an edge are not supported") }
    }

    pub(super) fn gradients(&mut self) -> Verdict {
        let Some(Differences { step, tolerance }) = self.suite.differences else {
            return skip("the suite was given no step and tolerance");
        };
        if !self.supported.contains(&(Kind::Dense, Want::Loss)) {
            return skip("dense proposals are not supported");
        }
        let mut rng = self.rng(13);
        let mut supernet = self.build()?;
        let start = supernet.save(self.trial())?;
        // The dense one first.
        for kind in Kind::ALL.into_iter().rev().filter(|kind| self.supported.contains(&(*kind, Want::Gradient))) {
            let proposal = self.draw((kind, Want::Gradient), &mut rng)?;
            let gradient = self.ask_from(&mut supernet, &start, &proposal)?.gradient;
            let largest = gradient.values().iter().fold(0.0, |largest: f64, slope| largest.max(slope.abs()));
            require(largest > 0.0, || format!("the gradient of a {} proposal is zero", kind.name()))?;
            for edge in 0..self.shape.edges() {
                for (candidate, _) in proposal.slots(edge) {
                    let mut losses = [0.0; 2];
                    for (loss, by) in losses.iter_mut().zip([step, -step]) {
                        let (mut weights, mut moved) = (proposal.weights().clone(), proposal.clone());
                        weights[(edge, candidate)] += by;
                        moved.set_dense(&weights, Want::Loss)?;
                        *loss = self.ask_from(&mut supernet, &start, &moved)?.loss;
                    }
                    let (got, expected) = (gradient[(edge, candidate)], (losses[0] - losses[1]) / (2.0 * step));
                    require((got - expected).abs() <= tolerance * largest, || {
                        let kind = kind.name();
                        format!("{kind}, edge {edge}, candidate {candidate}: got {got}, the differences say {expected}")
                    })?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn affine(&mut self) -> Verdict {
        let Some(tolerance) = self.suite.affine else { return skip("the reward is not said to be affine") };
        let (trial, edges) = (self.trial(), self.shape.edges());
        let mut rng = self.rng(14);
        let mut supernet = self.build()?;
        let start = supernet.save(trial)?;
        for _ in 0..3 {
            let mut proposal = self.draw((Kind::OneHot, Want::Removals), &mut rng)?;
            let Some(architecture) = proposal.architecture().cloned() else { continue };
            let mut answers = Vec::new();
            for want in [Want::Removals, Want::Gradient] {
                proposal.set_one_hot(&architecture, want)?;
                supernet.restore(trial, &start)?;
                let mut feedback = [unanswered(&self.shape)];
                supernet.probe(&[self.request(trial, Set::Validation, 0, proposal.clone())], &mut feedback)?;
                let [feedback] = feedback;
                answers.push(feedback);
            }
            let (mut exact, mut first_order) = (vec![0.0; edges], vec![0.0; edges]);
            let removals: Vec<f64> = answers[0].removals.iter().map(|loss| -loss).collect();
            estimator::advantages(&-answers[0].loss, &removals, &mut exact)?;
            estimator::first_order(&answers[1].gradient.map(|slope| -slope), &architecture, &mut first_order)?;
            let largest = exact.iter().fold(0.0, |largest: f64, advantage| largest.max(advantage.abs()));
            require(largest > 0.0, || "all advantages are zero".to_owned())?;
            for (edge, (exact, first_order)) in exact.iter().zip(&first_order).enumerate() {
                require((exact - first_order).abs() <= tolerance * largest, || {
                    format!("{architecture}, edge {edge}: Eq. (6) says {exact}, Eq. (7) says {first_order}")
                })?;
            }
        }
        Ok(())
    }
}
