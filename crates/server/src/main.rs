//! Stand-in.
use clap::Parser;
#[derive(Parser)]
#[command(name = "salp")]
struct Line {
    #[command(subcommand)]
    command: salp::cli::remote::Remote,
}
fn main() -> std::process::ExitCode {
    salp::cli::remote::run(Line::parse().command)
}
