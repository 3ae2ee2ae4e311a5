//! The configuration of Peregrine: TOML and environment, read, checked, compared.
//!
//! [`load`] reads a file through figment, lets `PEREGRINE_...` variables override it, and either gives
//! a [`Config`] in which everything is checked and resolved, or all errors at once, each with file,
//! line and key. [`Config::warnings`] tells what is allowed but probably not meant. [`diff`] compares
//! two configurations and says what a change from one to the other means for the running daemon.
//!
//! No key is ever ignored: an unknown one is an error that names the nearest known one, and one
//! which the design foresees but this version lacks is an error that says so.
//!
//! Environment: `PEREGRINE_SECTION__KEY`, with `_` for the hyphens of the key, for the sections
//! `[router]`, `[fib]`, `[api]` and `[decision]`: `PEREGRINE_ROUTER__ROUTER_ID=10.0.0.1`,
//! `PEREGRINE_FIB__INTERFACES=[eth0, eth1]`, `PEREGRINE_API__LISTEN=127.0.0.1:8179`.

mod attributes;
mod bfd;
mod config;
mod diff;
mod error;
mod group;
mod limits;
mod local_asn;
mod named;
mod nearest;
mod neighbor;
mod origin;
mod policy;
mod range;
mod reader;
mod restart;
mod sections;
mod source;
mod timers;
mod transport;

use std::path::Path as FilePath;

pub use attributes::AttributeOptions;
pub use bfd::Bfd;
pub use config::{
    AddPath, Advertise, Api, Confederation, Config, Decision, FibConf, Lookup, MultipathWeights, Neighbor,
    NeighborRange, Router, SendPaths, XdpMode,
};
pub use diff::{Change, Effect, KeyChange, diff, needs_new_session};
pub use error::{ConfError, Place, Warning};
pub use limits::{FamilyLimits, LimitAction, PrefixLimit, PrefixLimits};
pub use local_asn::LocalAsn;
pub use origin::{Aggregate, KernelSource, Network, Redistribute};
pub use transport::Password;

use reader::{Report, Table};
use source::{Path, Source};

/// The variables of this process, for [`load`]. Those of others may hold anything: what is not UTF-8
/// is replaced, where `std::env::vars` would panic.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}

/// Reads and checks a file, overridden by those of the variables that are ours, see [`environment`].
pub fn load(
    file: &FilePath,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Vec<ConfError>> {
    let name = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|error| {
        let place = Place::File { file: name.as_str().into() };
        vec![ConfError { place, key: String::new(), reason: format!("cannot be read: {error}") }]
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let start = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        let line = 1 + start.matches('\n').count();
        let place = Place::Line { file: name.as_str().into(), line };
        vec![ConfError { place, key: String::new(), reason: "not TOML: expected UTF-8 text".to_owned() }]
    })?;
    parse(&name, &text, environment)
}

/// Checks a text; `name` stands for the file in errors.
pub fn parse(
    name: &str,
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Vec<ConfError>> {
    let (source, errors) = Source::new(name, text, environment)?;
    let values = source.values().map_err(|error| vec![error])?;
    let report = Report::new(&source, errors);
    let mut root = Table::new(&report, Path::default(), values);

    let router = sections::router(&mut root);
    let fib = sections::fib(&mut root);
    let api = sections::api(&mut root);
    let decision = sections::decision(&mut root);
    let lists = policy::Lists::read(&mut root);
    let policies = policy::policies(&mut root, &lists);
    let groups = group::Groups::read(&mut root, &policies);
    let neighbors = neighbor::neighbors(&mut root, router.as_ref(), &fib, &policies, &groups);
    let ranges = range::ranges(&mut root, router.as_ref(), &fib, &policies, &groups);
    let networks = origin::networks(&mut root, &policies);
    let aggregates = origin::aggregates(&mut root, &policies);
    let redistribute = origin::redistribute(&mut root, &policies);
    policy::warn_unused(&report, &policies, &lists);
    groups.warn_unused(&report);
    root.finish(&[]);

    let warnings = report.finish()?;
    // Whatever keeps it from being read was an error above.
    let Some(router) = router else {
        return Err(vec![source.incomplete("router")]);
    };
    Ok(Config {
        router,
        fib,
        api,
        decision,
        neighbors,
        ranges,
        networks,
        aggregates,
        redistribute,
        conditions: lists.conditions.take(),
        policies: policies.into_map(),
        prefix_lists: lists.prefixes.into_map(),
        warnings,
    })
}
