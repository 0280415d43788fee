//! Pairs of homes behind any kinds of routers: those that physics allows are direct, the others stay relayed and lose nothing
//! by trying. `scripts/lab matrix` judges the same for all pairs, and by the time it takes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use farlan_netconf::Mtu;
use farlan_tests::lab::ends::Ends;
use farlan_tests::lab::expectation::Expected;
use farlan_tests::lab::pair::{Distance, PairLab};
use farlan_tests::lab::row::Outcome;
use farlan_tests::ns::world::World;
use farlan_tests::ns::{Access, Home, Nat, Wire, limit};

const LIMIT: Duration = Duration::from_secs(180);

/// Lets two new nodes meet; within the time that [`PairLab`] watches the pair must be what is expected.
fn meets(kinds: &str, expected: Expected) {
    limit::test(LIMIT, |lab| {
        let kinds = kinds.parse()?;
        let row = PairLab::new(lab, kinds, Distance::NONE, 1)?.run(lab, 0);
        println!("{row}");
        check(expected, kinds.expected(), row.outcome)?;
        ensure!(row.lost == 0 && row.doubled == 0, "frames were lost or doubled: {row}");
        Ok(())
    });
}

fn check(stated: Expected, computed: Expected, outcome: Outcome) -> Result<()> {
    ensure!(stated == computed, "the lab expects {computed:?}");
    let wanted = match stated {
        Expected::Direct => Outcome::Direct,
        Expected::Relay => Outcome::Relay,
    };
    ensure!(outcome == wanted, "{outcome:?} instead of {wanted:?}");
    Ok(())
}

#[test]
fn a_public_host_and_a_symmetric_router_are_direct() {
    meets("none x sym", Expected::Direct);
}

#[test]
fn a_full_cone_and_an_ordinary_router_are_direct() {
    meets("full x port", Expected::Direct);
}

#[test]
fn two_routers_that_filter_by_address_are_direct() {
    meets("addr x addr", Expected::Direct);
}

#[test]
fn two_ordinary_routers_are_direct() {
    meets("port x port", Expected::Direct);
}

#[test]
fn a_router_that_changes_ports_and_an_ordinary_one_are_direct() {
    meets("port-rand x port", Expected::Direct);
}

#[test]
fn two_routers_that_can_be_poisoned_are_direct() {
    meets("poison x poison", Expected::Direct);
}

#[test]
fn a_router_that_can_be_poisoned_and_a_symmetric_one_are_direct() {
    meets("poison x sym", Expected::Direct);
}

#[test]
fn a_router_that_maps_by_address_and_an_ordinary_one_are_direct() {
    meets("sym-addr x port", Expected::Direct);
}

#[test]
fn two_symmetric_routers_with_ports_in_sequence_are_direct() {
    meets("sym-seq x sym-seq", Expected::Direct);
}

#[test]
fn a_symmetric_router_with_ports_in_sequence_and_an_ordinary_one_are_direct() {
    meets("sym-seq x port", Expected::Direct);
}

#[test]
fn a_home_behind_a_carriers_full_cone_and_an_ordinary_one_are_direct() {
    meets("port/full x port", Expected::Direct);
}

/// Guests of one router who may not reach each other on its LAN: only by their outside endpoints.
#[test]
fn guests_of_one_router_are_direct_by_its_hairpin() {
    limit::test(LIMIT, |lab| {
        let world = World::start(lab, 2, Wire::PLAIN)?;
        let guests = lab.shared_home(&["a", "b"], Access::with_hairpin(Nat::FullCone), Wire::PLAIN)?;
        guests.iter().try_for_each(Home::isolate)?;
        let [a, b] = [("a", &guests[0]), ("b", &guests[1])];
        let ends = Ends::start(lab, &world, [a, b], 0, &world.network("guests", Mtu::DEFAULT)?)?;
        let pings = ends.pings(0, Duration::from_millis(20))?;
        let direct = ends.await_direct(Instant::now() + Duration::from_secs(15))?;
        ensure!(direct.is_some(), "still relayed");
        for (api, peer) in [(&ends.apis[0], &ends.ids[1]), (&ends.apis[1], &ends.ids[0])] {
            let address = api.path_to(peer)?.and_then(|(_, address)| address);
            ensure!(address == Some(guests[0].outside.into()), "by {address:?}");
        }
        let record = pings.stop()?;
        ensure!(record.lost().is_empty() && record.doubled() == 0, "{record}");
        ends.stop()
    });
}

#[test]
fn two_symmetric_routers_stay_relayed_and_lose_nothing() {
    meets("sym x sym", Expected::Relay);
}
