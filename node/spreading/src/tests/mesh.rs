//! Broadcasts in small networks, on a wire that loses nothing or something.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn reached(mesh: &Mesh, id: u64) -> BTreeSet<NodeId> {
    let all: Vec<_> = mesh
        .delivered
        .iter()
        .filter(|(_, of)| *of == id)
        .map(|(node, _)| *node)
        .collect();
    let set: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!(set.len(), all.len(), "nobody delivers twice");
    set
}

/// A generator of pseudo-random numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn a_star_hears_its_host_and_each_client_through_the_host() {
    let mut mesh = Mesh::new(64);
    for client in 1..64 {
        mesh.join(0, client, 20);
    }
    mesh.tell_needs();
    let of_host = mesh.broadcast(0, "from the host", 192);
    mesh.run(|| false);
    assert_eq!(reached(&mesh, of_host).len(), 63);
    let of_client = mesh.broadcast(5, "from a client", 192);
    mesh.run(|| false);
    let reached = reached(&mesh, of_client);
    assert_eq!(reached.len(), 63);
    assert!(!reached.contains(&node(5)));
    assert_eq!(mesh.resent, 0);
}

#[test]
fn three_levels_and_no_further() {
    // A line: what starts at one end is heard three steps away, and not four.
    let mut mesh = Mesh::new(8);
    for number in 0..7 {
        mesh.join(number, number + 1, 20);
    }
    mesh.tell_needs();
    let id = mesh.broadcast(0, "hello", 192);
    mesh.run(|| false);
    let expected: BTreeSet<_> = (1..4).map(node).collect();
    assert_eq!(reached(&mesh, id), expected);
}

#[test]
fn thirty_nodes_reach_all_whom_the_plan_names() {
    let mut mesh = Mesh::new(30);
    for number in 0..30 {
        for step in [1, 4, 9] {
            mesh.join(number, (number + step) % 30, 10);
        }
    }
    mesh.tell_needs();
    let mut near = BTreeSet::from([0]);
    for _ in 0..3 {
        let steps = [0, 1, 4, 9, 29, 26, 21].iter();
        near = steps
            .flat_map(|step| near.iter().map(move |one| (one + step) % 30))
            .collect();
    }
    near.remove(&0);
    let near: BTreeSet<_> = near.into_iter().map(node).collect();
    for origin in 0..30 {
        let now = mesh.now;
        let plan = mesh.of(origin).plan(now, &reach(192), &Around::default());
        let id = mesh.broadcast(origin, "who is there?", 192);
        mesh.run(|| false);
        let reached = reached(&mesh, id);
        assert!(plan.copies.iter().all(|copy| reached.contains(&copy.node)));
        // At first those within three steps, later those heard and theirs.
        if origin == 0 {
            assert_eq!(reached, near);
        }
        assert!(reached.len() >= 20, "{} of {origin}", reached.len());
        mesh.now += Duration::from_secs(1);
    }
}

#[test]
fn what_is_lost_comes_again() {
    let mut mesh = Mesh::new(20);
    for client in 1..20 {
        mesh.join(0, client, 20);
    }
    mesh.tell_needs();
    let mut random = Random(3);
    let id = mesh.broadcast(0, "again", 192);
    // Each copy is lost at first, then one in five.
    let mut count = 0;
    mesh.run(|| {
        count += 1;
        count <= 19 || random.below(5) == 0
    });
    assert!(reached(&mesh, id).len() >= 18, "{}", reached(&mesh, id).len());
    assert!(mesh.resent >= 19);
    assert!(mesh.nodes.values().all(|(spreading, _)| spreading.deadline().is_none()));
}

#[test]
fn whoever_never_answers_is_not_counted_on_before_it_speaks() {
    let mut mesh = Mesh::new(3);
    mesh.join(0, 1, 20);
    mesh.join(0, 2, 20);
    mesh.nodes.remove(&node(2));
    let id = mesh.broadcast(0, "hello", 192);
    mesh.run(|| false);
    assert_eq!(mesh.resent, 3);
    assert_eq!(reached(&mesh, id).len(), 1);
    let now = mesh.now;
    let planned = |spreading: &mut Spreading| spreading.plan(now, &reach(192), &Around::default()).copies.len();
    assert_eq!(planned(mesh.of(0)), 1);
    mesh.of(0).contacts_mut().received(now, &node(2));
    assert_eq!(planned(mesh.of(0)), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn no_broadcast_causes_more_deliveries_than_its_ceiling(
        seed: u64,
        count in 2_u16..120,
        degree in 1_u64..12,
        hub in any::<bool>(),
        ceiling in 1_u8..=192,
        loss in prop_oneof![Just(0_u64), Just(3), Just(30)],
    ) {
        let mut random = Random(seed);
        let mut mesh = Mesh::new(count);
        for number in 0..count {
            for _ in 0..degree {
                let other = u16::try_from(random.below(u64::from(count))).unwrap();
                if other != number {
                    mesh.join(number, other, 1 + random.below(6));
                }
            }
            if hub && number > 0 {
                mesh.join(0, number, 5);
            }
            let links: Vec<_> = (0..2).map(|_| node(u16::try_from(random.below(u64::from(count))).unwrap())).collect();
            let now = mesh.now;
            mesh.of(number).contacts_mut().set_long_links(now, &links);
            mesh.of(number).contacts_mut().set_bootstrap(now, &links);
        }
        if random.below(2) == 0 {
            mesh.tell_needs();
        }
        let origin = u16::try_from(random.below(u64::from(count))).unwrap();
        let id = mesh.broadcast(origin, "bounded", ceiling);
        let mut losses = Random(seed ^ 1);
        mesh.run(|| losses.below(100) < loss);
        prop_assert!(mesh.sent <= usize::from(ceiling), "{} sent", mesh.sent);
        prop_assert!(mesh.resent <= 3 * mesh.sent, "four tries at the most");
        let reached = reached(&mesh, id);
        prop_assert!(reached.len() <= mesh.sent && !reached.contains(&node(origin)));
    }
}
