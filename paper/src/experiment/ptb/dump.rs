//! One step of a search as a file, for an outside program that computes the same. `paper/README.md` has the names and layouts.

use advantage_nas::Supernet;
use advantage_nas::network::Part;
use advantage_nas::network::recurrent::{EDGES, Operation, Recurrent, WeightSettings, edge_ends};
use advantage_nas::strategy::{Feedback, StepKind, Want};

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
    let (step, requests, mut model) = search.ask(StepKind::Theta)?;
    let (request, trial) = (&requests[0], settings.trial);

    // What the strategy is answered, and what a step of the weights does, from the same place each.
    let state = model.save(trial)?;
    let mut feedback = [Feedback::new(request.proposal.shape())];
    model.probe(std::slice::from_ref(request), &mut feedback)?;
    let [feedback] = feedback;
    model.restore(trial, &state)?;

    let mut dump = Dump::new();
    let parameters = model.network().parent().parameters().to_vec();
    let part = |dump: &mut Dump, model: &mut LanguageModel, prefix: &str, part| -> Result<()> {
        for (index, parameter) in parameters.iter().enumerate() {
            let values = model.parameter(trial, index, part)?;
            let values = values.view::<f32>().expect("the network is in single precision");
            dump.array(format!("{prefix}/{}", parameter.name), values);
        }
        Ok(())
    };
    part(&mut dump, &mut model, "weights", Part::Value)?;
    let pass = model.pass(request)?;
    part(&mut dump, &mut model, "gradients", Part::Gradient)?;
    let weights: WeightSettings = settings.get("weights")?;
    let rate = weights.rate(step.schedule);

    let network = model.network();
    let Recurrent { dropout, vocabulary, .. } = *network.parent().sizes();
    let segment = network.minibatch();
    for (what, words) in [("inputs", segment.inputs()), ("targets", segment.targets())] {
        dump.array(format!("batch/{what}"), &words.mapv(i64::from));
    }
    for (what, mask) in ["embedding", "output"].into_iter().zip(network.masks()) {
        dump.array(format!("masks/{what}"), &mask);
    }
    dump.array("state/before", network.state_before());
    dump.array("state/after", network.state(trial)?);

    let proposal = &request.proposal;
    dump.table("proposal/weights", proposal.weights());
    dump.table("proposal/active", &proposal.active().map(|active| i64::from(*active)));
    dump.table("edge_gradient", &pass.edge_gradient);
    match proposal.want() {
        Want::GradientWithUnitOutputs => dump.table("edge_gradient_with_unit_outputs", &feedback.gradient),
        Want::Removals => dump.array("losses_without_edge", &feedback.removals),
        Want::Loss | Want::Gradient => {}
    }
    let norm = model.update(rate)?;
    part(&mut dump, &mut model, "updated", Part::Value)?;

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

fn want(want: Want) -> &'static str {
    match want {
        Want::Loss => "loss",
        Want::Gradient => "gradient",
        Want::GradientWithUnitOutputs => "gradient-with-unit-outputs",
        Want::Removals => "removals",
    }
}
