//! Steps of the weights and their losses.

use super::{Kind, Running, STEP, WANTS, agree, train, unanswered};
use crate::conformance::bits;
use crate::conformance::report::{Verdict, fail, require, skip};
use crate::error::Error;
use crate::random::below;
use crate::strategy::Want;
use crate::supernet::{Fetch, Request, Set, Supernet};

impl<S: Supernet> Running<'_, S> {
    pub(super) fn weight_steps(&mut self) -> Verdict {
        let trial = self.trial();
        let mut rng = self.rng(8);
        let proposal = self.draw(self.supported.first().copied().unwrap_or((Kind::OneHot, Want::Loss)), &mut rng)?;
        let request = self.request(trial, Set::Training, 0, proposal);
        let mut supernet = self.build()?;
        if !supernet.trains_weights() {
            let refused = supernet.weight_step(&[STEP], &[request]);
            return match refused {
                Err(Error::Unsupported { .. }) => skip("its weights are fixed"),
                other => fail(format!("its weights are fixed, but a weight step says {other:?}")),
            };
        }
        let evaluation = Request { proposal: request.proposal.clone(), ..self.evaluation(trial)? };
        let before = (bits(&supernet.save(trial)?), supernet.evaluate(&evaluation)?);
        train(&mut supernet, &request)?;
        let after = (bits(&supernet.save(trial)?), supernet.evaluate(&evaluation)?);
        require(before.0 != after.0, || "nothing that is saved has changed".to_owned())?;
        require(before.1.loss.to_bits() != after.1.loss.to_bits(), || "the evaluation has not changed".to_owned())
    }

    pub(super) fn weight_steps_want_nothing(&mut self) -> Verdict {
        let trial = self.trial();
        let mut supernet = self.build()?;
        if !supernet.trains_weights() {
            return skip("its weights are fixed");
        }
        let start = supernet.save(trial)?;
        let Some(&(kind, _)) = self.supported.iter().find(|(_, want)| *want == Want::Loss) else {
            return skip("no loss is answered");
        };
        let mut request = self.request(trial, Set::Training, 0, self.draw((kind, Want::Loss), &mut self.rng(17))?);
        let mut feedback = [unanswered(&self.shape)];
        supernet.probe(std::slice::from_ref(&request), &mut feedback)?;
        let mut expected: Option<(u64, _)> = None;
        for want in WANTS {
            request.proposal = self.draw((kind, want), &mut self.rng(17))?;
            supernet.restore(trial, &start)?;
            let loss = train(&mut supernet, &request)?;
            agree("the loss of a weight step and of a question before it", &[loss], &[feedback[0].loss])?;
            let got = (loss.to_bits(), bits(&supernet.save(trial)?));
            let expected = expected.get_or_insert_with(|| got.clone());
            require(got == *expected, || format!("a weight step whose proposal wants {} is another", want.name()))?;
        }
        Ok(())
    }

    pub(super) fn losses(&mut self) -> Verdict {
        let mut rng = self.rng(9);
        let (mut at_once, mut later) = (self.build()?, self.build()?);
        if !at_once.trains_weights() {
            return skip("its weights are fixed");
        }
        const COUNT: u64 = 3;
        let trials = self.suite.trials.clone();
        let mut expected = vec![Vec::new(); trials.len()];
        for step in 0..COUNT {
            let mut requests = Vec::new();
            for (&trial, expected) in trials.iter().zip(&mut expected) {
                let supported = self.supported[below(&mut rng, self.supported.len())];
                let request = self.request(trial, Set::Training, step, self.draw(supported, &mut rng)?);
                expected.push(train(&mut at_once, &request)?.to_bits());
                requests.push(request);
            }
            later.weight_step(&vec![STEP; requests.len()], &requests)?;
        }
        for (&trial, expected) in trials.iter().zip(&expected) {
            let mut losses = vec![-1.0];
            later.weight_losses(trial, Fetch::Ready, &mut losses)?;
            later.weight_losses(trial, Fetch::All, &mut losses)?;
            let Some((kept, new)) = losses.split_first() else { return fail("losses that were there are gone") };
            let got: Vec<u64> = new.iter().map(|loss| loss.to_bits()).collect();
            require(*kept == -1.0 && got == *expected, || {
                let expected: Vec<f64> = expected.iter().map(|bits| f64::from_bits(*bits)).collect();
                format!("trial {trial}: expected {expected:?}, got {new:?}")
            })?;
            later.weight_losses(trial, Fetch::All, &mut losses)?;
            require(losses.len() == got.len() + 1, || format!("trial {trial}: losses were handed over twice"))?;
        }
        for &trial in &trials {
            require(bits(&at_once.save(trial)?) == bits(&later.save(trial)?), || {
                format!("trial {trial}: steps in one call, or losses that are fetched later, change the weights")
            })?;
        }
        // Those that nobody fetched before a state was restored are forgotten.
        let trial = self.trial();
        let start = later.save(trial)?;
        let request = self.request(trial, Set::Training, 0, self.draw(self.supported[0], &mut rng)?);
        later.weight_step(&[STEP], std::slice::from_ref(&request))?;
        later.restore(trial, &start)?;
        let mut losses = Vec::new();
        later.weight_losses(trial, Fetch::All, &mut losses)?;
        require(losses.is_empty(), || format!("after a state was restored, {losses:?} are there from before"))
    }
}
