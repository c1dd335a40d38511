//! Judges every damage to the samples and prints a table: `damage [AT_MOST RANDOM [SAMPLE ...]]`.
//!
//! `AT_MOST` cases of each kind and file (0: all), `RANDOM` combinations. `TIDELOG_DAMAGE_THREADS` threads (default 2) do
//! it; with `TIDELOG_DAMAGE_SHARE=3/10` only every tenth case is tried, so that the whole can be cut into parts.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a program for people who test")]

use std::process::ExitCode;
use std::time::Instant;

use damage::Counts;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let number = |text: Option<String>| text.and_then(|text| text.parse().ok()).unwrap_or(0);
    let (at_most, random) = (number(args.next()), number(args.next()));
    let at_most = if at_most == 0 { u64::MAX } else { at_most };
    let asked: Vec<String> = args.collect();
    let threads =
        std::env::var("TIDELOG_DAMAGE_THREADS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    // A panic is a case like another; its words would drown the table.
    std::panic::set_hook(Box::new(|_| {}));
    let mut wrong = 0;
    println!(
        "| directory | damage | cases | named | unproved end, kept aside | only the metadata can tell | harmless | wrong |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for name in
        damage::names().iter().filter(|name| asked.is_empty() || asked.iter().any(|asked| asked == *name))
    {
        let begun = Instant::now();
        let counts = run(name, at_most, random, threads);
        for (kind, [named, unproved, unseen, harmless, _]) in &counts.by_kind {
            let cases = named + unproved + unseen + harmless;
            println!("| {name} | {kind:?} | {cases} | {named} | {unproved} | {unseen} | {harmless} | |");
        }
        let (judged, seconds) = (counts.judged, begun.elapsed().as_secs_f64());
        println!("| {name} | all, {judged} judged, {seconds:.0} s | | | | | | {} |", counts.wrong);
        for told in &counts.told {
            println!("WRONG {told}");
        }
        wrong += counts.wrong;
    }
    ExitCode::from(u8::from(wrong > 0))
}

fn run(name: &str, at_most: u64, random: u64, threads: u64) -> Counts {
    let mut all = Counts::default();
    let given = std::env::var("TIDELOG_DAMAGE_SHARE").ok();
    let given = given.as_deref().and_then(|text| text.split_once('/'));
    let (mine, parts) = given.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?))).unwrap_or((0, 1));
    std::thread::scope(|scope| {
        let part = |share: u64| {
            let sample = damage::sample(name).expect("the sample is built");
            sample
                .run(at_most, random, (mine + share * parts, threads * parts))
                .expect("a place for the inspector")
        };
        let parts: Vec<_> = (0..threads).map(|share| scope.spawn(move || part(share))).collect();
        for part in parts {
            all.add(part.join().expect("a thread's part"));
        }
    });
    all
}
