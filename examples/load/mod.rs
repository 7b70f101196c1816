//! The load tool's parts, from one frame up to a comparison of two servers.

mod answer;
mod args;
mod big_tree;
mod black_hole;
mod cluster;
mod compare;
mod connection;
mod engine;
mod failover;
mod fan_out;
mod floor;
mod half_open;
mod report;
mod rows;
mod session;
mod start;
mod template;
mod usage;
mod watches;
mod work;

use std::{error::Error, process::ExitCode};

use clap::Parser as _;

use args::{Args, Command};

/// What ends the tool: a sentence for the person who runs it.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub(crate) fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Run(args) => run(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::BigTree(args) => big_tree::big_tree(&args),
        Command::Failover(args) => failover::failover(&args),
        Command::FanOut(args) => fan_out::fan_out(&args),
        Command::Start(args) => start::start(&args),
        Command::HalfOpen(args) => half_open::half_open(&args),
        Command::Watches(args) => watches::watches(&args),
        Command::Floor { config } => floor::serve(&config).map(|()| ExitCode::SUCCESS),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &args::RunArgs) -> Result<ExitCode> {
    let targets = args.targets()?;
    let shape = args.shape();
    session::prepare_nodes(&targets, &shape)?;
    let mut engine = engine::Engine::connect(&targets, &shape)?;
    let measured = engine.measure(args.warmup(), args.duration(), &args.pids)?;
    engine.finish()?;
    println!("{}", report::paragraph(&measured));
    Ok(ExitCode::SUCCESS)
}
