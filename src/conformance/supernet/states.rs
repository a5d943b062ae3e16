//! What is saved and restored, and that trials are apart.

use super::{Running, STEP, play, train};
use crate::conformance::bits;
use crate::conformance::report::{Verdict, fail, require, skip};
use crate::error::Error;
use crate::state::State;
use crate::supernet::{Fetch, Set, Supernet};

impl<S: Supernet> Running<'_, S> {
    pub(super) fn trials_are_apart(&mut self) -> Verdict {
        let [first, second, ..] = *self.suite.trials else { return skip("the suite was given a single trial") };
        for (one, other) in [(first, second), (second, first)] {
            let mut rng = self.rng(7);
            let (mut alone, mut beside) = (self.build()?, self.build()?);
            let trains = alone.trains_weights();
            let (mine, theirs) = (self.script(one, trains, &mut rng)?, self.script(other, trains, &mut rng)?);
            for (index, act) in mine.iter().enumerate() {
                if let Some(act) = theirs.get(index) {
                    play(&mut beside, act)?;
                }
                require(play(&mut alone, act)? == play(&mut beside, act)?, || {
                    format!("trial {one} is answered otherwise where trial {other} asks, too")
                })?;
            }
            let (mine, theirs) = (alone.save(one)?, bits(&beside.save(other)?));
            require(bits(&mine) == bits(&beside.save(one)?), || {
                format!("trial {one} has another state where trial {other} asked")
            })?;
            let start = self.build()?.save(one)?;
            beside.restore(one, &start)?;
            require(bits(&beside.save(other)?) == theirs, || {
                format!("trial {other} has another state after trial {one} was restored")
            })?;
        }
        Ok(())
    }

    pub(super) fn cuts(&mut self) -> Verdict {
        let trial = self.trial();
        let mut rng = self.rng(10);
        let mut reference = self.build()?;
        let script = self.script(trial, reference.trains_weights(), &mut rng)?;
        let mut other = self.script(trial, reference.trains_weights(), &mut rng)?;
        other.truncate(4);
        let mut states = vec![reference.save(trial)?];
        let mut answers = Vec::new();
        for act in &script {
            answers.push(play(&mut reference, act)?);
            states.push(reference.save(trial)?);
        }
        let end = bits(&reference.save(trial)?);
        for (cut, state) in states.iter().enumerate() {
            // Something else before, so that it can't be right by being fresh.
            let mut resumed = self.build()?;
            other.iter().try_for_each(|act| play(&mut resumed, act).map(drop))?;
            resumed.restore(trial, state)?;
            require(bits(&resumed.save(trial)?) == bits(state), || format!("at cut {cut}, another state is saved"))?;
            for (act, expected) in script.iter().zip(&answers).skip(cut) {
                require(play(&mut resumed, act)? == *expected, || {
                    format!("restored at cut {cut} of {}, it answers otherwise", script.len())
                })?;
            }
            require(bits(&resumed.save(trial)?) == end, || format!("restored at cut {cut}, it ends elsewhere"))?;
        }
        Ok(())
    }

    pub(super) fn saving(&mut self) -> Verdict {
        let trial = self.trial();
        let mut rng = self.rng(11);
        let (mut with, mut without) = (self.build()?, self.build()?);
        for act in self.script(trial, with.trains_weights(), &mut rng)? {
            let state = bits(&with.save(trial)?);
            require(state == bits(&with.save(trial)?), || "saved twice, it saves something else".to_owned())?;
            require(play(&mut with, &act)? == play(&mut without, &act)?, || "an answer has changed".to_owned())?;
        }
        require(bits(&with.save(trial)?) == bits(&without.save(trial)?), || "the end has changed".to_owned())
    }

    pub(super) fn broken_states(&mut self) -> Verdict {
        let trial = self.trial();
        let mut rng = self.rng(12);
        let (mut source, mut supernet) = (self.build()?, self.build()?);
        let trains = source.trains_weights();
        self.script(trial, trains, &mut rng)?.iter().try_for_each(|act| play(&mut source, act).map(drop))?;
        let saved = source.save(trial)?;
        if saved.iter().next().is_none() {
            return skip("nothing is saved");
        }
        // Elsewhere, so that whatever is taken from the state shows.
        let other = self.script(trial, trains, &mut rng)?;
        other[..other.len() / 2].iter().try_for_each(|act| play(&mut supernet, act).map(drop))?;
        let mut expected = Vec::new();
        if trains {
            let request = self.request(trial, Set::Training, 0, self.draw(self.supported[0], &mut rng)?);
            let mut same = self.build()?;
            same.restore(trial, &supernet.save(trial)?)?;
            expected.push(train(&mut same, &request)?);
            supernet.weight_step(&[STEP], std::slice::from_ref(&request))?;
        }
        let before = bits(&supernet.save(trial)?);
        for (left_out, _) in saved.iter() {
            let mut broken = State::new();
            for (name, entry) in saved.iter().filter(|(name, _)| *name != left_out) {
                broken.insert(name, entry.clone());
            }
            match supernet.restore(trial, &broken) {
                Err(Error::State { .. }) => {}
                other => return fail(format!("without {left_out:?}: expected a refusal, got {other:?}")),
            }
            require(bits(&supernet.save(trial)?) == before, || {
                format!("the refused state without {left_out:?} has changed something")
            })?;
        }
        let mut losses = Vec::new();
        supernet.weight_losses(trial, Fetch::All, &mut losses)?;
        require(losses == expected, || {
            format!("after refused states, the losses {losses:?} are there, not {expected:?}")
        })
    }
}
