//! What is asked and answered: requests of one call, earlier questions, evaluations, what must be refused.

use super::{Answer, Running, STEP, ask, ask_one, describe, play, unanswered};
use crate::conformance::bits;
use crate::conformance::report::{Verdict, require};
use crate::error::Error;
use crate::space::SearchSpace;
use crate::strategy::{Feedback, Proposal};
use crate::supernet::{Evaluation, Set, Supernet};

impl<S: Supernet> Running<'_, S> {
    pub(super) fn calls_are_sequences(&mut self) -> Verdict {
        let mut rng = self.rng(1);
        let mut requests = Vec::new();
        let trials = self.suite.trials.clone();
        for round in 0..2 {
            for &trial in &trials {
                requests.extend(self.questions(trial, 100 * round, &mut rng)?);
            }
            // Neighbours of different trials, too.
            requests.sort_by_key(|request| request.batch.step);
        }
        let mut one_by_one = self.build()?;
        let expected =
            requests.iter().map(|request| ask_one(&mut one_by_one, request)).collect::<Verdict<Vec<Answer>>>()?;
        let got = ask(&mut self.build()?, &requests)?;
        for (index, (got, expected)) in got.iter().zip(&expected).enumerate() {
            require(got == expected, || {
                format!("answer {index} of {} is another than that of a call of its own", requests.len())
            })?;
        }
        Ok(())
    }

    pub(super) fn counts(&mut self) -> Verdict {
        let mut rng = self.rng(2);
        let mut requests = self.questions(self.trial(), 0, &mut rng)?;
        requests.push(requests[0].clone());
        let mut supernet = self.build()?;
        let trains = supernet.trains_weights();
        let mut feedback = vec![unanswered(&self.shape); requests.len() + 1];
        for answers in [0, requests.len() - 1, requests.len() + 1] {
            let refused = supernet.probe(&requests, &mut feedback[..answers]);
            require(matches!(refused, Err(Error::Length { .. })), || {
                format!("{} requests with {answers} answers: expected a refusal, got {refused:?}", requests.len())
            })?;
        }
        let other = SearchSpace::anonymous(vec![1; self.shape.edges() + 1])?;
        let refused = supernet.probe(&requests[..1], &mut [Feedback::new(other.shape())]);
        require(refused.is_err(), || "an answer for another search space is filled".to_owned())?;
        if trains {
            let one = self.request(self.trial(), Set::Training, 0, requests[0].proposal.clone());
            for steps in [0, 2] {
                let refused = supernet.weight_step(&vec![STEP; steps], std::slice::from_ref(&one));
                require(matches!(refused, Err(Error::Length { .. })), || {
                    format!("a weight step of 1 request with {steps} steps: expected a refusal, got {refused:?}")
                })?;
            }
            let refused = supernet.weight_step(&[STEP; 2], &[one.clone(), one]);
            require(refused.is_err(), || "two weight steps of a trial in one call are not refused".to_owned())?;
        }
        Ok(())
    }

    pub(super) fn strangers(&mut self) -> Verdict {
        let mut rng = self.rng(3);
        let mut request = self.questions(self.trial(), 0, &mut rng)?.remove(0);
        let mut supernet = self.build()?;
        let stranger = (0..).find(|trial| !self.suite.trials.contains(trial)).unwrap_or_default();
        request.batch.trial = stranger;
        let mut feedback = [unanswered(&self.shape)];
        require(supernet.probe(std::slice::from_ref(&request), &mut feedback).is_err(), || {
            format!("trial {stranger} is answered")
        })?;
        let other = SearchSpace::anonymous(vec![2; self.shape.edges() + 1])?;
        let foreign = self.request(self.trial(), Set::Validation, 0, Proposal::new(other.shape()));
        require(supernet.probe(std::slice::from_ref(&foreign), &mut feedback).is_err(), || {
            "a proposal over another search space is answered".to_owned()
        })?;
        require(supernet.evaluate(&foreign).is_err(), || "… is evaluated".to_owned())
    }

    pub(super) fn same_batch(&mut self) -> Verdict {
        let mut rng = self.rng(4);
        let mut questions = self.questions(self.trial(), 0, &mut rng)?;
        for index in 0..questions.len() {
            let again = questions[index].clone();
            questions.push(again);
        }
        questions.iter_mut().for_each(|request| request.batch.step = 5);
        let mut supernet = self.build()?;
        let answers = ask(&mut supernet, &questions)?;
        let half = questions.len() / 2;
        for (index, (one, again)) in answers[..half].iter().zip(&answers[half..]).enumerate() {
            require(one == again, || format!("{:?}: asked again, it is answered otherwise", self.supported[index]))?;
        }
        // Where a state is carried, it goes on from the first.
        let mut alone = self.build()?;
        ask(&mut alone, &questions[..1])?;
        let trial = self.trial();
        require(bits(&supernet.save(trial)?) == bits(&alone.save(trial)?), || {
            "the state does not go on from the first of them".to_owned()
        })
    }

    pub(super) fn earlier_questions(&mut self) -> Verdict {
        let trial = self.trial();
        let mut rng = self.rng(5);
        let mut supernet = self.build()?;
        let start = supernet.save(trial)?;
        let questions = self.questions(trial, 0, &mut rng)?;
        let script = self.script(trial, supernet.trains_weights(), &mut rng)?;
        let mut fresh = Vec::new();
        for question in &questions {
            supernet.restore(trial, &start)?;
            fresh.push(ask_one(&mut self.build()?, question)?);
            let again = ask_one(&mut supernet, question)?;
            require(Some(&again) == fresh.last(), || {
                format!("{:?}: a restored supernet answers otherwise", describe(question))
            })?;
        }
        for (act, (question, expected)) in script.iter().zip(questions.iter().zip(&fresh).cycle()) {
            play(&mut supernet, act)?;
            let state = supernet.save(trial)?;
            supernet.restore(trial, &start)?;
            let got = ask_one(&mut supernet, question)?;
            require(got == *expected, || {
                format!("{}: after other questions, it is answered otherwise", describe(question))
            })?;
            supernet.restore(trial, &state)?;
        }
        Ok(())
    }

    pub(super) fn evaluations(&mut self) -> Verdict {
        let trial = self.trial();
        let mut rng = self.rng(6);
        let questions = self.questions(trial, 0, &mut rng)?;
        let evaluation = self.evaluation(trial)?;
        let (mut with, mut without) = (self.build()?, self.build()?);
        let mut seen: Option<Evaluation> = None;
        for question in &questions {
            for _ in 0..2 {
                let evaluation = with.evaluate(&evaluation)?;
                require(evaluation.loss.is_finite() && evaluation.count > 0, || format!("got {evaluation:?}"))?;
                let first = *seen.get_or_insert(evaluation);
                require(first == evaluation, || format!("first {first:?}, then {evaluation:?}"))?;
            }
            let pair = [evaluation.clone(), evaluation.clone()];
            let all = with.evaluate_all(&pair)?;
            require(all.iter().all(|one| Some(*one) == seen) && all.len() == 2, || format!("all at once: {all:?}"))?;
            let (with_answer, without_answer) = (ask_one(&mut with, question)?, ask_one(&mut without, question)?);
            require(with_answer == without_answer, || {
                format!("{}: an evaluation changed the answer", describe(question))
            })?;
            require(bits(&with.save(trial)?) == bits(&without.save(trial)?), || {
                "an evaluation changed what is saved".to_owned()
            })?;
        }
        Ok(())
    }
}
