//! Broadcasts in large networks: `scripts/social`.

use farlan_tests::social::{Graph, Proportions, World};

fn main() {
    for nodes in [1000, 10_000, 100_000, 1_000_000, 10_000_000] {
        let begun = std::time::Instant::now();
        let world = World::new(1, nodes, &Proportions::social());
        print!("{}", Graph::of(&world));
        println!("  {:?}", begun.elapsed());
    }
}
