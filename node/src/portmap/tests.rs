use std::collections::BTreeSet;

use super::{
    fake::{Bend, Fake, Manner, State},
    keeper::Clock,
    *,
};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

fn port(number: u16) -> Port {
    Port::udp(number).unwrap()
}

fn keeper(fake: &Fake, ports: &[u16]) -> Keeper {
    let gateway = fake.gateway();
    Keeper::at(ports.iter().copied().map(port).collect(), move || vec![gateway])
}

/// Waits until the report is as it should be.
async fn until(keeper: &Keeper, what: &str, is: impl Fn(&Report) -> bool) -> Report {
    let mut reports = keeper.reports();
    let report = tokio::time::timeout(LIMIT, reports.wait_for(|report| is(report))).await;
    report.unwrap_or_else(|_| panic!("{what}")).unwrap().clone()
}

async fn until_asked(fake: &Fake, what: &str, is: impl Fn(&State) -> bool) {
    let asked = async {
        while !is(&fake.state()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, asked)
        .await
        .unwrap_or_else(|_| panic!("{what}"));
}

fn protocol(report: &Report, number: u16) -> Option<Protocol> {
    let mut ports = report.routers.iter().flat_map(|router| &router.ports);
    ports
        .find(|mapped| mapped.port == port(number))?
        .lease
        .map(|(protocol, ..)| protocol)
}

#[tokio::test]
async fn a_mapping_is_made_by_pcp_first_and_given_back_at_the_end() {
    let fake = Fake::start(1).await;
    fake.state().shift = 5;
    let keeper = keeper(&fake, &[9600]);
    let report = until(&keeper, "a mapping", |report| {
        report.endpoints(port(9600)).next().is_some()
    })
    .await;
    assert_eq!(protocol(&report, 9600), Some(Protocol::Pcp));
    assert_eq!(
        report.endpoints(port(9600)).collect::<Vec<_>>(),
        ["203.0.113.7:9605".parse().unwrap()]
    );
    assert!(report.settled);
    assert_eq!(fake.state().mappings.len(), 1);
    keeper.end().await;
    assert_eq!(fake.state().mappings.len(), 0, "given back");
}

#[tokio::test]
async fn natpmp_is_asked_where_pcp_is_not_spoken() {
    for (number, pcp) in [(2, Manner::Refuses(1)), (3, Manner::Silent)] {
        let fake = Fake::start(number).await;
        fake.state().pcp = pcp;
        let keeper = keeper(&fake, &[9600]);
        let report = until(&keeper, "a mapping", |report| {
            report.endpoints(port(9600)).next().is_some()
        })
        .await;
        assert_eq!(protocol(&report, 9600), Some(Protocol::NatPmp));
        assert_eq!(fake.state().mappings.len(), 1);
        keeper.end().await;
        assert_eq!(fake.state().mappings.len(), 0, "given back");
    }
}

#[tokio::test]
async fn a_mapping_is_renewed_at_half_its_time() {
    let fake = Fake::start(4).await;
    fake.state().grants = 2;
    let keeper = keeper(&fake, &[9600]);
    let report = until(&keeper, "a mapping", |report| {
        report.endpoints(port(9600)).next().is_some()
    })
    .await;
    let expiry = |report: &Report| report.routers[0].ports[0].lease.unwrap().2;
    let first = expiry(&report);
    let renewed = until(&keeper, "renewed", |report| expiry(report) > first).await;
    assert_eq!(protocol(&renewed, 9600), Some(Protocol::Pcp));
    // By the mapping's own nonce: the gateway has no second one.
    assert_eq!(fake.state().mappings.len(), 1);
    keeper.end().await;
}

#[tokio::test]
async fn a_gateway_that_started_anew_is_asked_for_all_its_mappings_again() {
    let fake = Fake::start(5).await;
    let keeper = keeper(&fake, &[9600, 9601]);
    let both = |report: &Report| [9600, 9601].iter().all(|number| protocol(report, *number).is_some());
    until(&keeper, "two mappings", both).await;
    fake.restart();
    // The next port that is asked for shows it, long before the others are due.
    keeper.want([9600, 9601, 9602].map(port).into());
    until_asked(&fake, "all three", |state| state.mappings.len() == 3).await;
    keeper.end().await;
}

#[tokio::test]
async fn what_is_not_wanted_any_more_is_given_back() {
    let fake = Fake::start(6).await;
    let keeper = keeper(&fake, &[9600, 9601]);
    until_asked(&fake, "two mappings", |state| state.mappings.len() == 2).await;
    until(&keeper, "two mappings", |report| protocol(report, 9601).is_some()).await;
    keeper.want([port(9600)].into());
    until_asked(&fake, "one is left", |state| state.mappings.keys().eq([&(17, 9600)])).await;
    keeper.want(BTreeSet::new());
    until_asked(&fake, "none is left", |state| state.mappings.is_empty()).await;
    until(&keeper, "nothing to say", |report| report.routers.is_empty()).await;
    keeper.end().await;
}

#[tokio::test]
async fn a_silent_gateway_holds_nobody_up_and_its_mapping_counts_until_its_time_is_over() {
    let fake = Fake::start(7).await;
    fake.state().grants = 4;
    let keeper = keeper(&fake, &[9600]);
    until(&keeper, "a mapping", |report| protocol(report, 9600).is_some()).await;
    (fake.state().pcp, fake.state().natpmp) = (Manner::Silent, Manner::Silent);
    let silent = until(&keeper, "said", |report| protocol(report, 9600).is_none()).await;
    assert_eq!(silent.endpoints(port(9600)).count(), 0);
    let begun = Instant::now();
    keeper.end().await;
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_gateway_that_speaks_nothing_is_said_to() {
    let fake = Fake::start(8).await;
    (fake.state().pcp, fake.state().natpmp) = (Manner::Silent, Manner::Refuses(5));
    let keeper = keeper(&fake, &[9600]);
    let report = until(&keeper, "an end", |report| report.settled).await;
    let trouble = report.trouble(port(9600)).unwrap();
    assert!(trouble.contains("none of PCP, NAT-PMP and UPnP"), "{trouble}");
    keeper.end().await;
}

#[tokio::test]
async fn a_gateway_without_an_address_outside_maps_nothing() {
    let fake = Fake::start(9).await;
    fake.state().outside = Ipv4Addr::UNSPECIFIED;
    let gateway = fake.gateway();
    assert_eq!(
        pcp::ask(gateway, port(9600), None, None).await.unwrap_err(),
        Refusal::NoOutside
    );
    assert_eq!(
        natpmp::ask(gateway, port(9600), None).await.unwrap_err(),
        Refusal::NoOutside
    );
}

#[tokio::test]
async fn bad_answers_are_no_mapping() {
    let fake = Fake::start(10).await;
    let gateway = fake.gateway();
    let bent: [(&str, Bend); 8] = [
        ("cut", |answer| answer.truncate(11)),
        ("empty", Vec::clear),
        ("one byte", |answer| answer.truncate(1)),
        ("not an answer", |answer| answer[1] &= 0x7f),
        ("another operation", |answer| answer[1] = 0xff),
        ("an unknown result", |answer| answer[3] = 99),
        ("another version", |answer| answer[0] = 7),
        ("random", |answer| {
            answer
                .iter_mut()
                .enumerate()
                .for_each(|(i, byte)| *byte = i as u8 ^ 0xa5)
        }),
    ];
    for (name, bend) in bent {
        (fake.state().pcp, fake.state().natpmp) = (Manner::Bends(bend), Manner::Bends(bend));
        let pcp = pcp::ask(gateway, port(9600), None, None).await;
        assert!(pcp.is_err(), "PCP, {name}: {pcp:?}");
        let natpmp = natpmp::ask(gateway, port(9600), None).await;
        assert!(natpmp.is_err(), "NAT-PMP, {name}: {natpmp:?}");
    }
    let bent: [(&str, Bend); 6] = [
        ("another nonce", |answer| answer[24] ^= 1),
        ("another port inside", |answer| answer[41] ^= 1),
        ("no port outside", |answer| answer[42..44].fill(0)),
        ("no time", |answer| answer[4..8].fill(0)),
        ("another protocol", |answer| answer[36] = 6),
        ("IPv6 outside", |answer| answer[44] = 0x20),
    ];
    for (name, bend) in bent {
        fake.state().pcp = Manner::Bends(bend);
        let pcp = pcp::ask(gateway, port(9600), None, None).await;
        assert!(pcp.is_err(), "{name}: {pcp:?}");
    }
    fake.state().pcp = Manner::Refuses(2);
    let refused = pcp::ask(gateway, port(9600), None, None).await.unwrap_err();
    assert_eq!(refused, Refusal::Refused("not authorised".into()));
}

#[test]
fn a_gateway_with_an_address_of_the_internet_is_asked_in_the_own_subnet_only() {
    let gateway = |address: [u8; 4], own: [u8; 4], prefix| Gateway {
        address: address.into(),
        own: own.into(),
        prefix,
    };
    for (asked, gateway) in [
        (true, gateway([192, 168, 1, 1], [192, 168, 1, 2], 24)),
        (true, gateway([10, 0, 0, 1], [10, 0, 0, 2], 32)),
        (true, gateway([169, 254, 1, 1], [198, 51, 100, 2], 32)),
        (true, gateway([100, 64, 0, 1], [100, 64, 9, 9], 32)),
        (true, gateway([198, 51, 100, 1], [198, 51, 100, 2], 30)),
        (false, gateway([198, 51, 100, 1], [198, 51, 100, 2], 32)),
        (false, gateway([203, 0, 113, 1], [192, 168, 1, 2], 24)),
        (false, gateway([0, 0, 0, 0], [0, 0, 0, 2], 24)),
        (false, gateway([127, 0, 0, 1], [127, 0, 0, 2], 8)),
        (false, gateway([224, 0, 0, 1], [224, 0, 0, 2], 8)),
    ] {
        assert_eq!(may_ask(&gateway), asked, "{gateway:?}");
    }
}

#[test]
fn an_address_outside_may_be_that_of_another_nat() {
    for (address, other) in [
        ("203.0.113.7:1", false),
        ("192.168.7.1:1", true),
        ("10.1.1.1:1", true),
        ("100.64.0.1:1", true),
        ("100.127.255.255:1", true),
        ("100.128.0.1:1", false),
        ("169.254.0.1:1", true),
        ("[2001:db8::1]:1", false),
    ] {
        assert_eq!(is_behind_another_nat(address.parse().unwrap()), other, "{address}");
    }
}

#[test]
fn a_clock_that_goes_otherwise_is_that_of_another_start() {
    let begin = Instant::now();
    let clock = |seconds: u64, epoch| Clock::new(begin + Duration::from_secs(seconds), epoch);
    for (before, after, other) in [
        (clock(0, 100), clock(10, 110), false),
        (clock(0, 100), clock(0, 99), false),
        (clock(0, 100), clock(0, 90), true),
        (clock(0, 100), clock(600, 3), true),
        (clock(0, 0), clock(600, 590), false),
        (clock(0, 0), clock(600, 500), true),
        (clock(0, 100), clock(800, 900), false),
        (clock(0, 100), clock(800, 1100), true),
        (clock(0, u32::MAX), clock(1, 0), true),
    ] {
        assert_eq!(after.is_of_another_start(&before), other, "{before:?} {after:?}");
    }
}

#[test]
fn refusals_are_told_by_protocol_unless_there_is_nobody() {
    let nobody = Refusals {
        pcp: Refusal::NoAnswer,
        natpmp: Refusal::Unsupported,
        upnp: Refusal::NoAnswer,
    };
    assert!(nobody.to_string().contains("none of PCP"), "{nobody}");
    let some = Refusals {
        natpmp: Refusal::NoOutside,
        upnp: Refusal::PermanentOnly,
        ..nobody
    };
    assert_eq!(
        some.to_string(),
        "the router maps no port (NAT-PMP: it has no address outside; UPnP: it gives permanent mappings only, which would \
         outlive farlan)"
    );
}
