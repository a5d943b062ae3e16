//! One step of a search as a file, for an outside program that computes the same. `paper/README.md` has the names and layouts.

use advantage_nas::network::recurrent::{EDGES, Operation, Recurrent, WeightSettings, edge_ends};
use advantage_nas::random::{Purpose, Streams};
use advantage_nas::strategy::{Feedback, Proposal, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::{Search, Supernet};
use advantage_nas_cpu::recurrent::Part;

use super::search::RecurrentSearch;
use super::{Language, LanguageModel};
use crate::build::Provenance;
use crate::dump::Dump;
use crate::error::{Error, Result};
use crate::experiment::Experiment as _;
use crate::settings::Settings;

/// The step of `θ` that follows `after` others: what the strategy asks and is answered, and an update of the weights with the same
/// proposal on the same minibatch.
///
/// # Errors
/// [`Error::Usage`] if the search has no such step; what the search reports.
pub fn dump(language: Language, settings: &Settings, after: u64) -> Result<Dump> {
    let experiment = RecurrentSearch(language);
    let mut search = experiment.build(settings, &())?;
    let plan = *search.plan();
    if after >= plan.iterations {
        let updates = plan.iterations;
        return Err(Error::Usage(format!(
            "--after {after}: the search has {updates} updates of theta, expected fewer"
        )));
    }
    // A step of the weights comes before every one of theta.
    let position = 2 * after + 1;
    search.run(Some(position), &mut ())?;
    let step = plan.step(true, position);
    let proposal = propose(&search, settings, position)?;

    // What the strategy is answered, and what a step of the weights does, from the same place each.
    let request = Request { batch: Batch { trial: settings.trial, set: Set::Validation, step: after }, proposal };
    let state = search.supernet_mut().save(settings.trial)?;
    let tokens = experiment.0.tokens(settings)?;
    let restored = || -> Result<LanguageModel> {
        let mut model = experiment.0.model(settings, &tokens)?;
        model.restore(settings.trial, &state)?;
        Ok(model)
    };
    let mut feedback = vec![Feedback::new(request.proposal.shape())];
    restored()?.probe(std::slice::from_ref(&request), &mut feedback)?;
    let (feedback, mut model) = (&feedback[0], restored()?);

    let mut dump = Dump::new();
    let trial = settings.trial;
    let parameters = model.parent().parameters().to_vec();
    let part = |dump: &mut Dump, model: &LanguageModel, prefix: &str, part| -> Result<()> {
        for (index, parameter) in parameters.iter().enumerate() {
            let values = model.parameter(trial, index, part)?;
            dump.f32(format!("{prefix}/{}", parameter.name), &parameter.shape, &values);
        }
        Ok(())
    };
    part(&mut dump, &model, "weights", Part::Value)?;
    let pass = model.pass(&request)?;
    part(&mut dump, &model, "gradients", Part::Gradient)?;
    let weights: WeightSettings = settings.get("weights")?;
    let rate = weights.rate(step.schedule);

    let Recurrent { batch, steps, units, dropout, vocabulary, .. } = *model.parent().sizes();
    let segment = model.minibatch();
    for (what, words) in [("inputs", segment.inputs()), ("targets", segment.targets())] {
        let words: Vec<i64> = words.iter().map(|word| i64::from(*word)).collect();
        dump.i64(format!("batch/{what}"), &[steps, batch], &words);
    }
    let [embedding, output] = model.masks();
    dump.f32("masks/embedding", &[steps, batch, units], &embedding);
    dump.f32("masks/output", &[steps, batch, units], &output);
    dump.f32("state/before", &[batch, units], model.state_before());
    dump.f32("state/after", &[batch, units], model.state(trial)?);

    let proposal = &request.proposal;
    dump.table("proposal/weights", proposal.weights());
    let active: Vec<i64> = proposal.active().values().iter().map(|active| i64::from(*active)).collect();
    dump.i64("proposal/active", &[EDGES, Operation::ALL.len()], &active);
    dump.table("edge_gradient", &pass.edge_gradient);
    match proposal.want() {
        Want::GradientWithUnitOutputs => dump.table("edge_gradient_with_unit_outputs", &feedback.gradient),
        Want::Removals => dump.f64("losses_without_edge", &[EDGES], &feedback.removals),
        Want::Loss | Want::Gradient => {}
    }
    let norm = model.update(trial, rate)?;
    part(&mut dump, &model, "updated", Part::Value)?;

    dump.note("experiment", settings.experiment.name());
    dump.note("method", settings.method.name());
    dump.note("settings", settings.table());
    dump.note("provenance", Provenance::of_this_cpu());
    dump.note("theta_steps_before", after);
    dump.note("vocabulary", vocabulary);
    dump.note("dropout", dropout);
    dump.note("edges", (0..EDGES).map(edge_ends).collect::<Vec<_>>());
    dump.note("candidates", Operation::ALL.map(Operation::name));
    dump.note("want", want(proposal.want()));
    // Of the answer to the strategy and of the step of the weights; they are the same number.
    dump.note("loss", feedback.loss);
    dump.note("loss_of_weight_step", pass.loss);
    dump.note("gradient_norm", norm);
    dump.note("clip_norm", weights.clip_norm);
    dump.note("learning_rate", rate);
    Ok(dump)
}

/// What the strategy of a search proposes at its next step.
fn propose(search: &Search<LanguageModel>, settings: &Settings, position: u64) -> Result<Proposal> {
    let (streams, trial) = (Streams::new(settings.seed), settings.trial);
    let space = search.supernet().space();
    let mut strategy = settings.method.build(space, &settings.method_settings, &streams, trial)?;
    strategy.restore(&search.strategy().save())?;
    let mut proposal = Proposal::new(space.shape());
    let mut rng = streams.at(Purpose::Architecture, trial, position);
    strategy.propose(&search.plan().step(true, position), &mut rng, &mut proposal)?;
    Ok(proposal)
}

fn want(want: Want) -> &'static str {
    match want {
        Want::Loss => "loss",
        Want::Gradient => "gradient",
        Want::GradientWithUnitOutputs => "gradient-with-unit-outputs",
        Want::Removals => "removals",
    }
}
