//! Members tell each other what they are called.

use std::time::Duration;

use farlan_netconf::DnsLabel;

use super::lab::{Lab, Place, intact, link, name};
use crate::{Event, Join, NetworkHandle, Role, wire::control::Control};

fn label(text: &str) -> DnsLabel {
    DnsLabel::parse(text).unwrap()
}

/// Joins as somebody called that.
fn join(lab: &mut Lab, place: Place, parameters: &farlan_netconf::Parameters, name: Option<&str>) -> NetworkHandle {
    let join = Join {
        parameters: parameters.clone(),
        world: super::lab::world_id(1),
        ipv4: true,
        preferred: None,
        greet: Vec::new(),
        name: name.map(label),
        membership: None,
    };
    let now = lab.now;
    lab.hosts[place].engine.join(now, join).unwrap()
}

/// What `place` shows as the name of `other` there.
fn shown(lab: &Lab, place: Place, other: Place, network: NetworkHandle) -> Option<String> {
    let node = lab.key(other).node_id();
    let peers = lab.hosts[place].engine.peers(lab.now);
    let peer = peers.into_iter().find(|peer| peer.node == node)?;
    let there = peer.networks.into_iter().find(|there| there.network == network)?;
    there.name.map(|name| name.to_string())
}

/// Two members of a network, called "ann" and "ben", in touch.
fn ann_and_ben(parameters: &farlan_netconf::Parameters) -> (Lab, [Place; 2], [NetworkHandle; 2]) {
    let (mut lab, [_, ann, ben]) = Lab::with_two_nodes();
    let there = [
        join(&mut lab, ann, parameters, Some("ann")),
        join(&mut lab, ben, parameters, Some("ben")),
    ];
    lab.run_seconds(5);
    greet(&mut lab, [ann, ben]);
    (lab, [ann, ben], there)
}

/// Has the first speak with the second.
fn greet(lab: &mut Lab, [ann, ben]: [Place; 2]) {
    let key = lab.key(ben);
    let now = lab.now;
    lab.hosts[ann].engine.ping(now, crate::Target::Node(key.node_id()), 1);
    lab.run_seconds(2);
}

#[test]
fn members_are_told_what_each_other_is_called_whatever_the_policy() {
    for parameters in [link(1), name()] {
        let (lab, [ann, ben], [at_ann, at_ben]) = ann_and_ben(&parameters);
        assert_eq!(shown(&lab, ann, ben, at_ann).as_deref(), Some("ben"));
        assert_eq!(shown(&lab, ben, ann, at_ben).as_deref(), Some("ann"));
        let node = lab.key(ben).node_id();
        let told = Event::NameTold { network: at_ann, node };
        let events = lab.hosts[ann].events.iter().filter(|event| **event == told);
        assert_eq!(events.count(), 1);
    }
}

#[test]
fn a_name_of_a_network_that_is_not_common_is_not_told() {
    let (mut lab, [ann, ben], [at_ann, _]) = ann_and_ben(&link(1));
    let other = join(&mut lab, ben, &link(2), Some("secret"));
    lab.run_seconds(5);
    assert_eq!(shown(&lab, ann, ben, at_ann).as_deref(), Some("ben"));
    // Ann comes to that network, too, and a place that was not known is by then.
    let at_ann = join(&mut lab, ann, &link(2), None);
    lab.run_seconds(5);
    assert_eq!(shown(&lab, ann, ben, at_ann).as_deref(), Some("secret"));
    assert_eq!(shown(&lab, ben, ann, other), None);
}

#[test]
fn a_changed_name_is_told_and_one_that_is_taken_back_is_gone() {
    let (mut lab, [ann, ben], [at_ann, at_ben]) = ann_and_ben(&link(1));
    for name in [Some("benjamin"), None, Some("ben")] {
        let now = lab.now;
        lab.hosts[ben].engine.set_name(now, at_ben, name.map(label));
        lab.run(Duration::from_millis(500));
        assert_eq!(shown(&lab, ann, ben, at_ann).as_deref(), name);
    }
    let now = lab.now;
    let key = lab.key(ann);
    let told = |lab: &Lab| {
        let sessions = lab.peer(ben, &key).sessions.iter();
        sessions.map(|session| session.networks.names_number).max()
    };
    let before = told(&lab);
    lab.hosts[ben].engine.set_name(now, at_ben, Some(label("ben")));
    assert_eq!(told(&lab), before, "nothing changed");
}

#[test]
fn names_that_are_lost_come_again_and_end_with_their_acknowledgement() {
    let (mut lab, [ann, ben], [at_ann, at_ben]) = ann_and_ben(&link(1));
    lab.wire = Box::new(|_, _, _| false);
    let now = lab.now;
    lab.hosts[ben].engine.set_name(now, at_ben, Some(label("benjamin")));
    lab.run_seconds(1);
    assert_eq!(shown(&lab, ann, ben, at_ann).as_deref(), Some("ben"));
    lab.wire = intact();
    lab.run_seconds(6);
    assert_eq!(shown(&lab, ann, ben, at_ann).as_deref(), Some("benjamin"));
    let key = lab.key(ann);
    let peer = lab.peer(ben, &key);
    assert!(
        peer.sessions
            .iter()
            .all(|session| session.networks.names_retry.is_none())
    );
}

#[test]
fn who_has_no_name_says_nothing_about_it() {
    let (mut lab, [_, ann, ben]) = Lab::with_two_nodes();
    for place in [ann, ben] {
        join(&mut lab, place, &link(1), None);
    }
    lab.run_seconds(5);
    greet(&mut lab, [ann, ben]);
    let key = lab.key(ann);
    let mut sessions = lab.peer(ben, &key).sessions.iter();
    assert!(sessions.all(|session| !session.networks.names_told && session.networks.names_retry.is_none()));
}

#[test]
fn an_older_list_that_comes_late_changes_nothing() {
    let (mut lab, [ann, ben], [at_ann, _]) = ann_and_ben(&link(1));
    let key = lab.key(ann);
    let names = |number, text| Control::Names {
        number,
        names: vec![(0, label(text))],
    };
    lab.tell(ben, &key, names(9, "nine"));
    lab.run_seconds(1);
    lab.tell(ben, &key, names(8, "eight"));
    lab.run_seconds(1);
    assert_eq!(shown(&lab, ann, ben, at_ann).as_deref(), Some("nine"));
    assert_eq!(lab.hosts[ann].engine.role, Role::Node);
}
