//! The three backends read the same bytes of the same files: at random places, over the end, in holes.
#![allow(clippy::unwrap_used, reason = "tests may be blunt")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tidelog_io::random::Entropy;
use tidelog_io::sim::{Sim, block_on_sim};
use tidelog_io::{Access, BLOCK, Buf, Disk, DiskFile, block_on_posix, block_on_uring};

/// What each read gives: the bytes that are said to be there.
async fn read<D: Disk>(disk: &D, path: &Path, reads: &[(u64, usize)]) -> Vec<Vec<u8>> {
    let file = disk.open(path, Access::Read).await.unwrap();
    let mut out = Vec::new();
    for (position, len) in reads {
        let (read, buf) = file.read_at(Buf::heap(*len), *len, *position).await;
        out.push(buf[..read.unwrap()].to_vec());
    }
    out
}

/// A file of some blocks and a part of one, with holes.
fn file(chance: &Entropy, path: &Path) -> Vec<u8> {
    let len = chance.below(40) as usize * BLOCK + chance.below(3) as usize * 1031;
    let (mut bytes, real) = (vec![0; len], File::create(path).unwrap());
    real.set_len(len as u64).unwrap();
    for _ in 0..chance.below(6) {
        let from = chance.below(len as u64 + 1) as usize;
        let to = (from + chance.below(5 * BLOCK as u64) as usize).min(len);
        bytes[from..to].fill_with(|| chance.u64() as u8);
        real.write_all_at(&bytes[from..to], from as u64).unwrap();
    }
    real.sync_all().unwrap();
    bytes
}

#[test]
fn posix_uring_and_the_simulator_read_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..60 {
        let chance = Entropy::seeded(seed);
        let path = dir.path().join(format!("file-{seed}"));
        let bytes = file(&chance, &path);
        let blocks = (bytes.len() / BLOCK) as u64 + 3;
        let reads: Vec<(u64, usize)> = (0..12)
            .map(|_| (chance.below(blocks) * BLOCK as u64, (1 + chance.below(12) as usize) * BLOCK))
            .collect();
        let expected: Vec<Vec<u8>> = reads
            .iter()
            .map(|(position, len)| {
                let from = (*position as usize).min(bytes.len());
                bytes[from..(from + len).min(bytes.len())].to_vec()
            })
            .collect();
        let sim = Sim::new(seed);
        sim.write_file(&path, &bytes);
        let simulated = block_on_sim(&sim, async |disk| read(&disk, &path, &reads).await).unwrap();
        assert!(simulated == expected, "seed {seed}: the simulator");
        let posix = block_on_posix(async |disk| read(&disk, &path, &reads).await).unwrap();
        assert!(posix == expected, "seed {seed}: posix");
        // Where io_uring is forbidden the server takes posix, too.
        if let Ok(uring) = block_on_uring(async |disk| read(&disk, &path, &reads).await) {
            assert!(uring == expected, "seed {seed}: uring");
        }
    }
}

#[test]
fn whatever_is_done_to_a_file_the_backends_show_the_same() {
    for seed in 0..200 {
        let chance = Entropy::seeded(seed);
        let plan: Vec<u8> = (0..chance.below(40)).map(|_| chance.u64() as u8).collect();
        println!("seed {seed}");
        tidelog_io::fuzz::fuzz_disks(&plan);
    }
}
