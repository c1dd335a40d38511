//! Every kind of damage to every sample, thinned out: `damage` (the program) goes through all of it.
//!
//! `TIDELOG_DAMAGE` is the number of cases of each kind and file (default 30), `TIDELOG_DAMAGE_RANDOM` that of random
//! combinations of a sample (default 60).
#![allow(clippy::unwrap_used, reason = "tests may be blunt")]

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn sweep(name: &str) {
    let counts = damage::sample(name)
        .unwrap()
        .run(number("TIDELOG_DAMAGE", 30), number("TIDELOG_DAMAGE_RANDOM", 60), (0, 1))
        .unwrap();
    assert_eq!(counts.wrong, 0, "{}", counts.told.join("\n"));
    for (kind, [named, ..]) in &counts.by_kind {
        assert!(*named > 0 || name == "open" || name == "marked", "{name}: {kind:?} is never named");
    }
}

macro_rules! samples {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            sweep(stringify!($name).split('_').nth(3).unwrap());
        }
    )*};
}

samples! {
    damage_to_an_open_segment_is_named_or_harmless
    damage_to_a_marked_segment_is_named_or_harmless
    damage_to_a_sealed_segment_is_named_or_harmless
    damage_to_a_several_of_them_is_named_or_harmless
    damage_to_a_recycled_segment_is_named_or_harmless
    damage_to_a_producers_shard_is_named_or_harmless
    damage_to_a_metadata_shard_is_named_or_harmless
    damage_to_a_store_is_named_or_harmless
}

#[test]
fn every_sample_is_swept() {
    assert_eq!(damage::names().len(), 8);
}
