//! What messages of traversal hold: candidates, behaviours, techniques and steps of searches.

use std::net::SocketAddr;

use farlan_netconf::Reader;

use super::put_u16;
use crate::{
    Behaviour, Filtering, Mapping, Ports,
    prediction::Technique,
    wire::endpoint::{Malformed, endpoint, put_endpoint},
};

/// An underlay endpoint at which a node may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Whether it means something only inside the node's own local network.
    pub(crate) local: bool,
    pub(crate) endpoint: SocketAddr,
}

/// How a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The offer is not taken.
    No,
    /// It is.
    Yes,
    /// The sender's ports are open.
    Open,
    /// They will be, or are, those that follow this one.
    OpenFrom { port: u16, stride: i16 },
}

pub(super) fn put_candidate(bytes: &mut Vec<u8>, candidate: &Candidate) {
    bytes.push(if candidate.local { LOCAL } else { OUTSIDE });
    put_endpoint(bytes, candidate.endpoint);
}

pub(super) fn candidate(reader: &mut Reader<'_>) -> Result<Candidate, Malformed> {
    Ok(Candidate {
        local: reader.u8()? == LOCAL,
        endpoint: endpoint(reader)?,
    })
}

/// What peers are told of a behaviour. Of dependent mappings and of strides they have no use for more.
pub(crate) fn behaviour_code(behaviour: &Behaviour) -> u8 {
    let mapping = behaviour.mapping.code().min(DEPENDENT);
    let filtering = behaviour.filtering.code();
    let ports = match behaviour.ports {
        Ports::Unknown => 0,
        Ports::Kept => 1,
        Ports::Sequential { .. } => 2,
        Ports::Random => 3,
        Ports::Changed => 4,
    };
    mapping | filtering << 2 | ports << 4
}

pub(super) fn behaviour_of(code: u8) -> Behaviour {
    Behaviour {
        mapping: match code & 3 {
            DEPENDENT => Mapping::Dependent,
            code => Mapping::from_code(code),
        },
        filtering: Filtering::from_code(code >> 2 & 3),
        ports: match code >> 4 & 7 {
            1 => Ports::Kept,
            2 => Ports::Sequential { stride: 1 },
            3 => Ports::Random,
            4 => Ports::Changed,
            _ => Ports::Unknown,
        },
        ..Behaviour::default()
    }
}

pub(super) fn technique_code(technique: Technique) -> u8 {
    match technique {
        Technique::Birthday => 1,
        Technique::Predicted => 2,
        Technique::BothPredicted => 3,
        Technique::Either => 4,
    }
}

pub(super) fn technique_of(code: u8) -> Result<Technique, Malformed> {
    Ok(match code {
        1 => Technique::Birthday,
        2 => Technique::Predicted,
        3 => Technique::BothPredicted,
        4 => Technique::Either,
        _ => return Err(Malformed),
    })
}

pub(super) fn put_step(bytes: &mut Vec<u8>, step: Step) {
    let (code, port, stride) = match step {
        Step::No => (0, 0, 0),
        Step::Yes => (1, 0, 0),
        Step::Open => (2, 0, 0),
        Step::OpenFrom { port, stride } => (2, port, stride),
    };
    bytes.push(code);
    put_u16(bytes, port);
    bytes.extend_from_slice(&stride.to_be_bytes());
}

pub(super) fn step(reader: &mut Reader<'_>) -> Result<Step, Malformed> {
    let (code, port) = (reader.u8()?, reader.u16()?);
    let stride = i16::from_be_bytes(reader.array()?);
    Ok(match (code, port) {
        (0, _) => Step::No,
        (1, _) => Step::Yes,
        (2, 0) => Step::Open,
        (2, port) => Step::OpenFrom { port, stride },
        _ => return Err(Malformed),
    })
}

/// Of a mapping that goes by more than the own socket peers are told no more than that.
const DEPENDENT: u8 = 3;

/// Kinds of candidates.
const OUTSIDE: u8 = 1;
const LOCAL: u8 = 2;
